"""What a turn brings along beside its text, and the tools that it used.

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import Json

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("extras", Json))
    op.add_column("turns", sa.Column("tools", Json))
    op.add_column("turns", sa.Column("tools_chars", sa.Integer))


def downgrade() -> None:
    op.drop_column("turns", "tools_chars")
    op.drop_column("turns", "tools")
    op.drop_column("turns", "extras")
