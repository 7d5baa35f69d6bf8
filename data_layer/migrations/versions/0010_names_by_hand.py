"""Names by hand: which threads somebody named, so that no model names them.

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("threads", sa.Column("named_at", UtcTime))


def downgrade() -> None:
    op.drop_column("threads", "named_at")
