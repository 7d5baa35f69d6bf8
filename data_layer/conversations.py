"""Conversations: threads as the API reads and changes them; the `Conversations` port."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.bringing import bring_turns
from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.pages import decode_cursor, encode_cursor, not_ours, page_size
from data_layer.rows import AnyRow, select_turns, turn_of
from data_layer.search import SearchHit
from data_layer.storable import check_size, storable_json
from data_layer.tables import QUEUED, steps, threads, turns
from data_layer.thread_lock import new_thread
from data_layer.threads import SqlThreads, Tell, untold
from data_layer.writer import Writer
from parley.chat.conversations import (
    BroughtTurn,
    Conversation,
    ConversationPage,
    Match,
    Order,
    Said,
    SaidPage,
)
from parley.chat.deltas import FinishReason
from parley.chat.errors import NotFound
from parley.chat.messages import Role
from parley.chat.ports import ContextStore
from parley.chat.requests import thread_name
from parley.chat.turns import Owner, Turn
from parley.chat.usage import Usage

_NO_THREAD = "There is no such conversation."
_ROLES = {"user_message": Role.USER, "assistant_message": Role.ASSISTANT}
# A list of a hundred with a megabyte of metadata each is none.
_LISTED_METADATA_CHARS = 8192
_TURNS_AT_ONCE = 50
_BEYOND_INTEGERS = 2**31
_metadata_text = sa.cast(threads.c.metadata, sa.Text)


class SqlConversations:
    """The `Conversations` of both databases; see the port for what each method promises."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        elements: SqlElements,
        contexts: ContextStore,
        tell: Tell = untold,
    ) -> None:
        """Read through `database`, write through `writer`.

        `elements` and `contexts` are what a deleted thread leaves elsewhere; `tell` hears of names
        and deletions.
        """
        self._database = database
        self._writer = writer
        self._threads = SqlThreads(database, writer, tell=tell)
        self._elements = elements
        self._contexts = contexts

    async def page(  # noqa: D102 - the port says it
        self, owner_id: str, *, limit: int, cursor: str | None, search: str | None
    ) -> ConversationPage:
        matches: dict[str, Match] = {}
        if search:
            found = await self._threads.search(owner_id, search, limit=limit, cursor=cursor)
            ids, next_cursor = [hit.thread.id for hit in found.hits], found.next_cursor
            matches = {hit.thread.id: _match(hit) for hit in found.hits}
        else:
            page = await self._threads.page(owner_id, limit=limit, cursor=cursor)
            ids, next_cursor = [row.id for row in page.rows], page.next_cursor
        statement = _select(owner_id, listed=True).where(threads.c.id.in_(ids))
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        by_id = {row.id: _conversation(row, matches.get(row.id)) for row in rows}
        return ConversationPage([by_id[id] for id in ids if id in by_id], next_cursor)

    async def create(  # noqa: D102
        self, owner: Owner, title: str | None, metadata: Mapping[str, Any]
    ) -> Conversation:
        return await self.bring(owner, title or "", metadata, ())

    async def bring(  # noqa: D102
        self, owner: Owner, title: str, metadata: Mapping[str, Any], turns: Sequence[BroughtTurn]
    ) -> Conversation:
        thread_id, kept = str(uuid4()), storable_json(metadata)
        check_size(kept, "metadata of the conversation")
        now, named = datetime.now(UTC), thread_name(title)
        name = named or (thread_name(turns[0].text) if turns else "")
        called = {"name": name, "named_at": now if named else None}

        def write(connection: Connection) -> None:
            new_thread(connection, owner, thread_id, now, metadata=kept, **called)
            bring_turns(connection, owner, thread_id, turns)

        await self._writer.write(write)
        return await self.read(owner.id, thread_id)

    async def read(self, owner_id: str, thread_id: str) -> Conversation:  # noqa: D102
        statement = _select(owner_id).where(threads.c.id == thread_id)
        row = await self._database.read(lambda connection: connection.execute(statement).first())
        if row is None:
            raise NotFound(_NO_THREAD)
        return _conversation(row)

    async def change(  # noqa: D102
        self, owner_id: str, thread_id: str, title: str | None, metadata: Mapping[str, Any]
    ) -> Conversation:
        if metadata:
            await self._threads.merge_metadata(owner_id, thread_id, metadata)
        if title is not None:
            await self._threads.rename(owner_id, thread_id, title)
        return await self.read(owner_id, thread_id)

    async def retitle(  # noqa: D102
        self, owner_id: str, thread_id: str, before: str, title: str
    ) -> bool:
        return await self._threads.retitle(owner_id, thread_id, before, title)

    async def delete(self, owner_id: str, thread_id: str) -> None:  # noqa: D102
        keys = await self._threads.delete(owner_id, thread_id)
        await self._elements.discard(owner_id, keys)
        await self._contexts.forget([thread_id])

    async def messages(  # noqa: D102
        self, owner_id: str, thread_id: str, *, limit: int, cursor: str | None, order: Order
    ) -> SaidPage:
        await self._threads.thread(owner_id, thread_id)
        size = page_size(limit)
        statement = _messages(owner_id, thread_id, cursor, order).limit(size + 1)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        shown = rows[:size]
        more = encode_cursor(*map(str, _place(shown[-1]))) if len(rows) > size else None
        return SaidPage([_said(row) for row in shown], more)

    async def turns(self, owner_id: str, thread_id: str) -> AsyncIterator[Turn]:  # noqa: D102
        await self._threads.thread(owner_id, thread_id)
        arrival = 0
        while True:
            statement = (
                select_turns()
                .where(
                    turns.c.thread_id == thread_id,
                    turns.c.owner_id == owner_id,
                    turns.c.on_branch,
                    turns.c.arrival > arrival,
                )
                .order_by(turns.c.arrival)
                .limit(_TURNS_AT_ONCE)
            )
            rows = await self._database.read(_all(statement))
            for row in rows:
                arrival = row.arrival
                yield turn_of(row)
            if len(rows) < _TURNS_AT_ONCE:
                return


def _all(statement: sa.Select[*tuple[Any, ...]]) -> Callable[[Connection], Sequence[AnyRow]]:
    return lambda connection: connection.execute(statement).all()


def _select(owner_id: str, *, listed: bool = False) -> sa.Select[*tuple[Any, ...]]:
    is_small = sa.func.length(_metadata_text) <= _LISTED_METADATA_CHARS
    kept = (
        sa.case((is_small, threads.c.metadata), else_=sa.null()) if listed else threads.c.metadata
    )
    head = sa.and_(turns.c.id == threads.c.head_turn_id, turns.c.owner_id == owner_id)
    return (
        sa.select(
            threads.c.id,
            threads.c.name,
            threads.c.created_at,
            threads.c.last_active_at,
            sa.type_coerce(kept, threads.c.metadata.type).label("kept"),
            turns.c.model,
        )
        .select_from(threads.outerjoin(turns, head))
        .where(threads.c.owner_id == owner_id, threads.c.deleted_at.is_(None))
    )


def _conversation(row: AnyRow, match: Match | None = None) -> Conversation:
    return Conversation(
        row.id, row.name, row.created_at, row.last_active_at, row.model, row.kept, match
    )


def _match(hit: SearchHit) -> Match:
    return Match(hit.snippet.text, hit.step_id)


def _messages(
    owner_id: str, thread_id: str, cursor: str | None, order: Order
) -> sa.Select[*tuple[Any, ...]]:
    place = sa.tuple_(steps.c.arrival, steps.c.ordinal, steps.c.id)
    own_turn = sa.and_(turns.c.id == steps.c.turn_id, turns.c.owner_id == owner_id)
    is_waiting = sa.and_(turns.c.state == QUEUED, steps.c.type == "assistant_message")
    statement = (
        sa.select(
            steps.c.id,
            steps.c.type,
            steps.c.output,
            steps.c.created_at,
            steps.c.turn_id,
            steps.c.arrival,
            steps.c.ordinal,
            turns.c.model,
            turns.c.usage,
            turns.c.finish_reason,
        )
        .select_from(steps.outerjoin(turns, own_turn))
        .where(
            steps.c.thread_id == thread_id,
            steps.c.owner_id == owner_id,
            steps.c.type.in_(_ROLES),
            sa.or_(steps.c.turn_id.is_(None), sa.and_(turns.c.on_branch, ~is_waiting)),
        )
    )
    columns = (steps.c.arrival, steps.c.ordinal, steps.c.id)
    if order == "asc":
        return _after(statement, cursor, place.__gt__).order_by(*columns)
    return _after(statement, cursor, place.__lt__).order_by(*(c.desc() for c in columns))


def _after(
    statement: sa.Select[*tuple[Any, ...]],
    cursor: str | None,
    beyond: Callable[[Any], sa.ColumnElement[bool]],
) -> sa.Select[*tuple[Any, ...]]:
    if cursor is None:
        return statement
    try:
        arrival, ordinal, step_id = decode_cursor(cursor)
        place = (int(arrival), int(ordinal), str(UUID(step_id)))
    except ValueError:
        raise not_ours() from None
    if not all(0 <= number < _BEYOND_INTEGERS for number in place[:2]):
        raise not_ours()
    columns = (steps.c.arrival, steps.c.ordinal, steps.c.id)
    values = [sa.literal(value, c.type) for value, c in zip(place, columns, strict=True)]
    return statement.where(beyond(sa.tuple_(*values)))


def _place(row: AnyRow) -> tuple[int, int, str]:
    return row.arrival, row.ordinal, row.id


def _said(row: AnyRow) -> Said:
    role = _ROLES[row.type]
    said = Said(row.id, role, row.output, row.created_at, row.turn_id)
    if role is Role.USER:
        return said
    return replace(
        said,
        model=row.model,
        usage=Usage(**row.usage) if row.usage else None,
        finish_reason=FinishReason(row.finish_reason) if row.finish_reason else None,
    )
