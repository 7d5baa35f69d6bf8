"""Elements, feedback, favourites, sharing and tombstones: what Chainlit keeps beside turns.

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import Id, Json, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("threads", sa.Column("shared_at", UtcTime))
    op.add_column("steps", sa.Column("favorite_at", UtcTime))
    op.add_column("steps", sa.Column("started_at", UtcTime))
    op.create_index("ix_turns_parent", "turns", ["parent_turn_id"])
    op.create_index("ix_steps_turn", "steps", ["turn_id", "ordinal"])
    favorite = sa.text("favorite_at IS NOT NULL")
    op.create_index(
        "ix_steps_favorite",
        "steps",
        ["owner_id", "favorite_at"],
        sqlite_where=favorite,
        postgresql_where=favorite,
    )
    _create_elements()
    _create_feedbacks()
    op.create_table(
        "tombstones",
        sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", Id, primary_key=True),
        sa.Column("deleted_at", UtcTime, nullable=False),
    )


def _create_elements() -> None:
    op.create_table(
        "elements",
        sa.Column("id", Id, primary_key=True),
        sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("step_id", Id),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("display", sa.Text, nullable=False),
        sa.Column("mime", sa.Text),
        sa.Column("object_key", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("url", sa.Text),
        sa.Column("extra", Json),
        sa.Column("created_at", UtcTime, nullable=False),
    )
    op.create_index("ix_elements_thread", "elements", ["thread_id", "created_at"])
    op.create_index("ix_elements_object", "elements", ["owner_id", "object_key"])


def _create_feedbacks() -> None:
    op.create_table(
        "feedbacks",
        sa.Column("id", Id, primary_key=True),
        sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("step_id", Id, sa.ForeignKey("steps.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.UniqueConstraint("step_id", "owner_id"),
    )
    op.create_index("ix_feedbacks_value", "feedbacks", ["owner_id", "value", "thread_id"])


def downgrade() -> None:
    for table in ("tombstones", "feedbacks", "elements"):
        op.drop_table(table)
    op.drop_index("ix_steps_favorite", "steps")
    op.drop_index("ix_steps_turn", "steps")
    op.drop_index("ix_turns_parent", "turns")
    op.drop_column("steps", "started_at")
    op.drop_column("steps", "favorite_at")
    op.drop_column("threads", "shared_at")
