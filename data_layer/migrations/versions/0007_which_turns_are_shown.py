"""Which turns are on the chosen branch of their thread: a search finds no others.

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OFF_BRANCH = sa.text("NOT on_branch")


def upgrade() -> None:
    op.add_column(
        "turns", sa.Column("on_branch", sa.Boolean, nullable=False, server_default=sa.true())
    )
    op.execute(
        """
        WITH RECURSIVE branch(id) AS (
            SELECT head_turn_id FROM threads WHERE head_turn_id IS NOT NULL
            UNION ALL
            SELECT turns.parent_turn_id FROM turns JOIN branch ON turns.id = branch.id
            WHERE turns.parent_turn_id IS NOT NULL
        )
        UPDATE turns SET on_branch = false WHERE id NOT IN (SELECT id FROM branch)
        """
    )
    op.create_index(
        "ix_turns_off_branch",
        "turns",
        ["owner_id", "user_step_id", "answer_step_id"],
        sqlite_where=_OFF_BRANCH,
        postgresql_where=_OFF_BRANCH,
    )


def downgrade() -> None:
    op.drop_index("ix_turns_off_branch", "turns")
    op.drop_column("turns", "on_branch")
