"""Several processes on one database: their heartbeats, and how far a checkpoint goes.

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("beat_at", UtcTime, nullable=False),
    )
    op.add_column("steps", sa.Column("seq", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("steps", "seq")
    op.drop_table("replicas")
