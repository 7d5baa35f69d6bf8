"""The request of a turn: under which id the log has what asked for it.

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("request_id", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "request_id")
