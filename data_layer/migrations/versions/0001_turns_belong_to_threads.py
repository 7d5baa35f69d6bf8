"""Users, threads, turns and steps.

Revision: 0001
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op

from data_layer.tables import Id, Json, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", Id, primary_key=True),
        sa.Column("identifier", sa.Text, nullable=False, unique=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
    )
    _create_threads()
    _create_turns()
    _create_steps()


def _create_threads() -> None:
    op.create_table(
        "threads",
        sa.Column("id", Id, primary_key=True),
        sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tags", Json),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("head_turn_id", Id),
        sa.Column("last_arrival", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("last_active_at", UtcTime, nullable=False),
        sa.Column("deleted_at", UtcTime),
    )
    op.create_index(
        "ix_threads_page",
        "threads",
        ["owner_id", sa.text("last_active_at DESC"), sa.text("id DESC")],
    )


def _create_turns() -> None:
    op.create_table(
        "turns",
        sa.Column("id", Id, primary_key=True),
        sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("parent_turn_id", Id),
        sa.Column("arrival", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("sampling", Json, nullable=False),
        sa.Column("system_prompt", sa.Text),
        sa.Column("user_step_id", Id, nullable=False),
        sa.Column("answer_step_id", Id, nullable=False),
        sa.Column("attempts", Json),
        sa.Column("usage", Json),
        sa.Column("receipt", Json),
        sa.Column("finish_reason", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("time_to_first_chunk_ms", sa.Integer),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("replica_id", sa.Text, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("stop_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("ended_at", UtcTime),
        sa.UniqueConstraint("owner_id", "thread_id", "key"),
        sa.UniqueConstraint("thread_id", "arrival"),
    )
    running, live = sa.text("state = 'running'"), sa.text("state IN ('running', 'queued')")
    op.create_index(
        "uq_turns_one_running",
        "turns",
        ["thread_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index(
        "ix_turns_live",
        "turns",
        ["owner_id", "state"],
        sqlite_where=live,
        postgresql_where=live,
    )


def _create_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("id", Id, primary_key=True),
        sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("turn_id", Id, sa.ForeignKey("turns.id", ondelete="CASCADE")),
        sa.Column("parent_id", Id),
        sa.Column("arrival", sa.Integer, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("reasoning", sa.Text, nullable=False),
        sa.Column("is_error", sa.Boolean, nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("generation", Json),
        sa.Column("extra", Json),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("ended_at", UtcTime),
    )
    op.create_index("ix_steps_place", "steps", ["thread_id", "arrival", "ordinal"])


def downgrade() -> None:
    for table in ("steps", "turns", "threads", "users"):
        op.drop_table(table)
