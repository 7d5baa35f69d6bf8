"""Who is calling: sign-ins, API keys, guests whose threads become a user's.

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import Id, Json, UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", Id, primary_key=True),
        _owner(),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("profile", Json, nullable=False),
        sa.Column("sealed_token", sa.Text),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("seen_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime),
    )
    op.create_index("ix_sign_ins_owner", "sign_ins", ["owner_id"])
    op.create_table(
        "sign_in_states",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("browser_digest", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("verifier", sa.Text, nullable=False),
        sa.Column("back_to", sa.Text, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", Id, primary_key=True),
        _owner(),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime),
        sa.Column("used_at", UtcTime),
        sa.Column("revoked_at", UtcTime),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner_id"])
    op.create_table(
        "adoptions",
        sa.Column("guest_id", Id, primary_key=True),
        _owner(),
        sa.Column("created_at", UtcTime, nullable=False),
    )


def _owner() -> sa.Column[str]:
    return sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


def downgrade() -> None:
    for table in ("adoptions", "api_keys", "sign_in_states", "sign_ins"):
        op.drop_table(table)
