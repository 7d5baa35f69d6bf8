"""Tables: the schema as SQLAlchemy Core sees it; migrations/ is what makes it.

Everything has its owner on the row, so that every statement can name them. Times are aware UTC.
Nothing is deleted by an edit: turns are a tree by `parent_turn_id`, and `threads.head_turn_id` is
the newest turn of the branch that is shown.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.engine import Dialect
from typing_extensions import override

from data_layer.storable import iso


class UtcTime(sa.TypeDecorator[datetime]):
    """An aware UTC time, also on SQLite, which knows no zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        return value.astimezone(UTC) if value is not None else None

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class IsoTime(sa.TypeDecorator[str]):
    """A UTC time as the page reads it: to make a moment of it first is a fifth of a long read."""

    impl = sa.String
    cache_ok = True

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        if dialect.name != "sqlite":
            return lambda moment: moment and iso(moment)
        return lambda text: text and f"{text[:10]}T{text[11:]}Z"


class _Id(sa.Uuid[str]):
    """A UUID as text; SQLite keeps its 32 digits, and to parse them is a tenth of a long read."""

    cache_ok = True

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)  # type: ignore[no-any-return, no-untyped-call]  # SQLAlchemy's has no types

        def with_dashes(v: str | None) -> str | None:
            return v and f"{v[:8]}-{v[8:12]}-{v[12:16]}-{v[16:20]}-{v[20:]}"

        return with_dashes


Id = _Id(as_uuid=False)
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("identifier", sa.Text, nullable=False, unique=True),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # When somebody named it by hand: no model does then, also where the words are the same.
    sa.Column("named_at", UtcTime),
    sa.Column("tags", Json),
    sa.Column("metadata", Json, nullable=False),
    # The newest turn of the chosen branch; no foreign key, since the two are born together.
    sa.Column("head_turn_id", Id),
    sa.Column("last_arrival", sa.Integer, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("last_active_at", UtcTime, nullable=False),
    # Here and not in metadata, which Chainlit's sessions write back as they found it.
    sa.Column("shared_at", UtcTime),
    # A tombstone: a late write must not bring a deleted thread back.
    sa.Column("deleted_at", UtcTime),
)
sa.Index(
    "ix_threads_page", threads.c.owner_id, threads.c.last_active_at.desc(), threads.c.id.desc()
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("parent_turn_id", Id),
    # The order of arrival within the thread: the queue, and the order of its steps.
    sa.Column("arrival", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("sampling", Json, nullable=False),
    sa.Column("system_prompt", sa.Text),
    # What the message brought along beside its text: images, tools, the form of the answer.
    sa.Column("extras", Json),
    sa.Column("user_step_id", Id, nullable=False),
    sa.Column("answer_step_id", Id, nullable=False),
    # The calls of tools and their results, and how many characters those are.
    sa.Column("tools", Json),
    sa.Column("tools_chars", sa.Integer),
    sa.Column("attempts", Json),
    sa.Column("usage", Json),
    sa.Column("receipt", Json),
    sa.Column("finish_reason", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("time_to_first_chunk_ms", sa.Integer),
    sa.Column("duration_ms", sa.Integer),
    # Under which the log has what asked for it.
    sa.Column("request_id", sa.Text),
    sa.Column("replica_id", sa.Text, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
    # Whether it is on the thread's chosen branch (branches.py): what is not, no search finds.
    sa.Column("on_branch", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("ended_at", UtcTime),
    sa.UniqueConstraint("owner_id", "thread_id", "key"),
    sa.UniqueConstraint("thread_id", "arrival"),
)
# Written into the statement, not bound: only then can the partial indexes serve it.
QUEUED: sa.ColumnElement[str] = sa.literal_column("'queued'")
RUNNING: sa.ColumnElement[str] = sa.literal_column("'running'")
OFF_BRANCH = sa.text("NOT turns.on_branch")
_RUNNING = sa.text("state = 'running'")
_LIVE = sa.text("state IN ('running', 'queued')")
sa.Index(
    "uq_turns_one_running",
    turns.c.thread_id,
    unique=True,
    sqlite_where=_RUNNING,
    postgresql_where=_RUNNING,
)
sa.Index("ix_turns_parent", turns.c.parent_turn_id)
_OFF_BRANCH = sa.text("NOT on_branch")
# With all that is read by it: SQLite would else read the owner's turns by another index.
sa.Index(
    "ix_turns_off_branch",
    turns.c.owner_id,
    turns.c.user_step_id,
    turns.c.answer_step_id,
    sqlite_where=_OFF_BRANCH,
    postgresql_where=_OFF_BRANCH,
)
sa.Index(
    "ix_turns_live", turns.c.owner_id, turns.c.state, sqlite_where=_LIVE, postgresql_where=_LIVE
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("owner_id", Id, nullable=False),
    # None for a step that Chainlit made and no turn owns.
    sa.Column("turn_id", Id, sa.ForeignKey("turns.id", ondelete="CASCADE")),
    sa.Column("parent_id", Id),
    # Place of the step in the thread: the turn's arrival, then the order within the turn.
    sa.Column("arrival", sa.Integer, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("output", sa.Text, nullable=False),
    sa.Column("reasoning", sa.Text, nullable=False),
    # Of an answer that is being written: the last event that a checkpoint has in it.
    sa.Column("seq", sa.BigInteger),
    sa.Column("is_error", sa.Boolean, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    # literalai's ChatGeneration: what the answer cost.
    sa.Column("generation", Json),
    # What Chainlit's StepDict has beyond these columns.
    sa.Column("extra", Json),
    sa.Column("favorite_at", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("ended_at", UtcTime),
)
sa.Index("ix_steps_place", steps.c.thread_id, steps.c.arrival, steps.c.ordinal)
sa.Index("ix_steps_turn", steps.c.turn_id, steps.c.ordinal)
_FAVORITE = sa.text("favorite_at IS NOT NULL")
sa.Index(
    "ix_steps_favorite",
    steps.c.owner_id,
    steps.c.favorite_at,
    sqlite_where=_FAVORITE,
    postgresql_where=_FAVORITE,
)

elements = sa.Table(
    "elements",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("owner_id", Id, nullable=False),
    # The step that it is attached to; no foreign key, since elements come before their steps.
    sa.Column("step_id", Id),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("display", sa.Text, nullable=False),
    sa.Column("mime", sa.Text),
    # Where an element has bytes: the SHA-256 of them, which names them in the storage.
    sa.Column("object_key", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    # Where it is hosted elsewhere: shown by the browser, never fetched here.
    sa.Column("url", sa.Text),
    # What Chainlit's ElementDict has beyond these columns.
    sa.Column("extra", Json),
    sa.Column("created_at", UtcTime, nullable=False),
)
sa.Index("ix_elements_thread", elements.c.thread_id, elements.c.created_at)
sa.Index("ix_elements_object", elements.c.owner_id, elements.c.object_key)

feedbacks = sa.Table(
    "feedbacks",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("step_id", Id, sa.ForeignKey("steps.id", ondelete="CASCADE"), nullable=False),
    # Who rates: one feedback for a step and user.
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("value", sa.Integer, nullable=False),
    sa.Column("comment", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.UniqueConstraint("step_id", "owner_id"),
)
sa.Index("ix_feedbacks_thread", feedbacks.c.thread_id)
sa.Index("ix_feedbacks_value", feedbacks.c.owner_id, feedbacks.c.value, feedbacks.c.thread_id)

# The processes that serve this database, on PostgreSQL: each counts its beats (heartbeats.py).
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("beat_at", UtcTime, nullable=False),
)

# Steps and elements that were deleted: Chainlit's writes come in any order, and a create that comes
# after its delete must not bring the thing back.
tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deleted_at", UtcTime, nullable=False),
)

# One row: which database this is. A directory of files names the one that it belongs to.
databases = sa.Table("databases", metadata, sa.Column("id", Id, primary_key=True))

# What a search reads: a document for each title (without a step), question and answer, the newest
# with the highest id. Triggers keep it, so that a turn needs no further statement and no writer can
# forget it (migrations/versions/0003_search.py); SQLite indexes it by an FTS5 table, `search_index`.
search_documents = sa.Table(
    "search_documents",
    metadata,
    sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("step_id", Id),
    sa.Column("words", sa.Text().with_variant(TSVECTOR, "postgresql"), nullable=False),
    sqlite_autoincrement=True,
)
_TITLES, _MESSAGES = sa.text("step_id IS NULL"), sa.text("step_id IS NOT NULL")
for _name, _which in (("titles", _TITLES), ("messages", _MESSAGES)):
    sa.Index(
        f"ix_search_documents_{_name}",
        search_documents.c.owner_id,
        search_documents.c.id.desc(),
        sqlite_where=_which,
        postgresql_where=_which,
    )
# Without the titles, which SQLite would else look for in here, among those of all owners.
sa.Index(
    "uq_search_documents_step",
    search_documents.c.step_id,
    unique=True,
    sqlite_where=_MESSAGES,
    postgresql_where=_MESSAGES,
)
sa.Index("ix_search_documents_thread", search_documents.c.thread_id)
sa.Index(
    "ix_search_documents_words",
    search_documents.c.words,
    postgresql_using="gin",
    postgresql_with={"fastupdate": "off"},
).ddl_if(dialect="postgresql")

# Who is signed in: one row for a browser, found by the digest of what its cookie holds.
sign_ins = sa.Table(
    "sign_ins",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("provider", sa.Text, nullable=False),
    # Name, verified e-mail, picture, groups: as the provider said them at this sign-in.
    sa.Column("profile", Json, nullable=False),
    # The user's own token of the provider, encrypted.
    sa.Column("sealed_token", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("seen_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
)
sa.Index("ix_sign_ins_owner", sign_ins.c.owner_id)

# Sign-ins that were begun: each state is taken once.
sign_in_states = sa.Table(
    "sign_in_states",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    # What the browser that began it holds in a cookie.
    sa.Column("browser_digest", sa.Text, nullable=False),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("verifier", sa.Text, nullable=False),
    sa.Column("back_to", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    # Its beginning, by which its owner knows it again.
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime),
    sa.Column("used_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
)
sa.Index("ix_api_keys_owner", api_keys.c.owner_id)

# Guests who signed in, until all that was theirs is the user's (data_layer/adopting.py).
adoptions = sa.Table(
    "adoptions",
    metadata,
    sa.Column("guest_id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)
