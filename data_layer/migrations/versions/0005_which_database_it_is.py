"""Which database it is: a directory of files names the one that it belongs to.

Revision: 0005
Follows: 0004
"""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from data_layer.tables import Id

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    databases = op.create_table("databases", sa.Column("id", Id, primary_key=True))
    op.bulk_insert(databases, [{"id": str(uuid4())}])


def downgrade() -> None:
    op.drop_table("databases")
