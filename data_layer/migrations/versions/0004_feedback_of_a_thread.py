"""Feedback found by its thread, which may be deleted: without an index each one reads them all.

Revision: 0004
Follows: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_feedbacks_thread", "feedbacks", ["thread_id"])


def downgrade() -> None:
    op.drop_index("ix_feedbacks_thread", "feedbacks")
