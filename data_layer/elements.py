"""Elements: files and other things that belong to a step, rows here and bytes in the storage.

Writes come in any order: an element before its step and its thread, a delete before its create
(tombstones). Calls for the same element run in the order in which they came. Bytes of one owner
are kept once, and go when the last element goes that has them.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Collection,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from typing_extensions import override

from data_layer.database import Database
from data_layer.local_storage import read_pieces
from data_layer.locks import KeyedLocks
from data_layer.quota import check_room
from data_layer.rows import AnyRow, read_portions
from data_layer.storable import uuid_or_none
from data_layer.storage import Quota, Storage, StoredObject
from data_layer.sweeping import sweep_files
from data_layer.tables import elements
from data_layer.thread_lock import all_or_nothing, lock_thread, new_thread
from data_layer.tombstones import bury, is_buried, lock_id
from data_layer.writer import Writer
from parley.chat.attachments import (
    Attachment,
    Attachments,
    NewAttachment,
    clean_name,
    clean_type,
    shown_as,
)
from parley.chat.errors import NotFound, ParleyError, StorageUnavailable
from parley.chat.turns import Owner
from parley.observability.audit import audit
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_NO_FILE = "There is no such file."
_NO_ELEMENT = "There is no such conversation, or no such element in it."
_FIND = sa.select(elements.c.thread_id, elements.c.object_key).where(
    elements.c.id == sa.bindparam("element"), elements.c.owner_id == sa.bindparam("owner")
)
_ALL = (
    sa.select(elements)
    .where(
        elements.c.thread_id == sa.bindparam("thread"), elements.c.owner_id == sa.bindparam("owner")
    )
    .order_by(elements.c.created_at, elements.c.id)
)
_OF_STEPS = _ALL.where(elements.c.step_id.in_(sa.bindparam("steps", expanding=True)))


@dataclass(frozen=True, slots=True)
class NewElement:
    """An element about to be kept; `content` is its bytes or the file that has them.

    `url` is where it is hosted elsewhere: kept as it is, never fetched. `extra` is storable JSON.
    """

    id: str
    thread_id: str
    step_id: str | None
    type: str
    name: str
    display: str
    mime: str | None
    url: str | None
    extra: Mapping[str, Any]
    content: bytes | Path | None


class SqlElements(Attachments):
    """Elements of one owner at a time; another's and a missing one look the same."""

    def __init__(
        self, database: Database, writer: Writer, storage: Storage, quota: Quota | None = None
    ) -> None:
        """Keep rows through `writer` and bytes in `storage`, within `quota`; closes neither."""
        self._database = database
        self._writer = writer
        self._storage = storage
        self._locks = KeyedLocks()
        self._quota = quota or Quota()

    async def put(self, owner: Owner, new: NewElement) -> AnyRow | None:
        """Insert an element or replace it; None where it was deleted before.

        Raises `NotFound` for a thread or an element of someone else and for a deleted thread,
        `TooLarge` for its bytes, alone or with those that are there.
        """
        async with self._locks.held(owner.id, new.id):
            if new.content is not None:
                return await self._put_with_bytes(owner, new, _pieces(new.content))
            kept = await self._write(owner, new, None)
            await self.discard(owner.id, kept.unused_keys)
            return kept.row

    @override
    async def copy(self, owner: Owner, thread_id: str, step_id: str, to_step_id: str) -> list[str]:
        return await self._writer.write(
            lambda connection: _copy(connection, owner.id, thread_id, step_id, to_step_id)
        )

    @override
    async def delete(self, owner: Owner, element_id: str, thread_id: str | None = None) -> None:
        async with self._locks.held(owner.id, element_id):
            keys = await self._writer.write(
                lambda connection: _delete(connection, owner, element_id, thread_id)
            )
            await self.discard(owner.id, keys)
        if keys:
            audit("file_deleted", user_id=owner.id, file_id=element_id)

    async def element(self, owner_id: str, thread_id: str, element_id: str) -> AnyRow | None:
        """Read one element; None where there is none."""
        statement = sa.select(elements).where(
            elements.c.id == element_id,
            elements.c.thread_id == thread_id,
            elements.c.owner_id == owner_id,
        )
        return await self._database.read(lambda connection: connection.execute(statement).first())

    async def sweep(self) -> None:
        """Remove what a crash left, and bytes that no element has; failing to is only logged."""
        await sweep_files(self._database, self._storage, self.discard)

    async def discard(self, owner_id: str, keys: Sequence[str]) -> None:
        """Delete bytes that no element of the owner has any more; failing to is only logged.

        For after the commit of what deleted the rows.
        """
        for key in dict.fromkeys(keys):
            try:
                await self._storage.delete(owner_id, key, lambda key=key: self._used(owner_id, key))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            except StorageUnavailable as error:
                logger.warning("Bytes of a deleted element remain", key=key, code=error.code)

    @override
    async def attach(
        self, owner: Owner, new: NewAttachment, content: AsyncIterable[bytes]
    ) -> Attachment:
        mime = clean_type(new.mime)
        element = NewElement(
            id=new.id,
            thread_id=new.thread_id,
            step_id=new.step_id,
            type=shown_as(mime),
            name=clean_name(new.name),
            display="inline",
            mime=mime,
            url=None,
            extra={},
            content=None,
        )
        async with self._locks.held(owner.id, new.id):
            row = await self._put_with_bytes(owner, element, content)
        if row is None:
            raise NotFound(_NO_FILE)
        return _attachment(row)

    @override
    async def find(self, viewer_id: str, attachment_id: str) -> Attachment:
        element_id = uuid_or_none(attachment_id)
        statement = sa.select(elements).where(
            elements.c.id == element_id, elements.c.object_key.is_not(None), _seen_by(viewer_id)
        )
        row = await self._database.read(lambda connection: connection.execute(statement).first())
        if row is None:
            raise NotFound(_NO_FILE)
        found = _attachment(row)
        await self._storage.size(found.owner_id, found.key)
        return found

    @override
    def read(self, found: Attachment, first: int, length: int) -> AsyncGenerator[bytes]:
        return self._storage.read(found.owner_id, found.key, first, length)

    async def _put_with_bytes(
        self, owner: Owner, new: NewElement, content: AsyncIterable[bytes]
    ) -> AnyRow | None:
        """Keep bytes and row; bytes that no row has in the end go again.

        Not where the caller was cancelled: the row may still be on its way.
        """
        keys: list[str] = []
        # Before a byte is read; the new file itself is counted in the transaction of its row.
        await self._database.read(lambda one: check_room(one, owner.id, self._quota, new.id))
        try:
            async with self._storage.put(owner.id, content) as stored:
                keys.append(stored.key)
                kept = await self._write(owner, new, stored)
        except ParleyError:
            await self.discard(owner.id, keys)
            raise
        await self.discard(owner.id, [*kept.unused_keys, *([] if kept.row else keys)])
        return kept.row

    async def _write(self, owner: Owner, new: NewElement, stored: StoredObject | None) -> "_Kept":
        def put(connection: Connection) -> _Kept:
            if stored:
                check_room(connection, owner.id, self._quota, new.id, stored)
            return _put(connection, owner, new, stored)

        return await self._writer.write(put)

    async def _used(self, owner_id: str, key: str) -> bool:
        statement = sa.select(
            sa.exists().where(elements.c.owner_id == owner_id, elements.c.object_key == key)
        )
        return await self._database.read(
            lambda connection: bool(connection.execute(statement).scalar_one())
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a write left: the row, None where a tombstone is, and the bytes it had before."""

    row: AnyRow | None
    unused_keys: Sequence[str] = ()


def elements_of(
    connection: Connection, owner_id: str, thread_id: str, step_ids: Collection[str] | None = None
) -> Sequence[AnyRow]:
    """Read the elements of a thread, oldest first; those of `step_ids`, all with None."""
    key = {"thread": thread_id, "owner": owner_id}
    if step_ids is None:
        return connection.execute(_ALL, key).all()
    found = read_portions(connection, _OF_STEPS, key, step_ids)
    return sorted(found, key=lambda row: (row.created_at, row.id))


def delete_elements_of(connection: Connection, owner_id: str, thread_id: str) -> list[str]:
    """Delete the elements of a thread; gives their keys, to `discard` after the commit."""
    deleted = connection.execute(
        sa.delete(elements)
        .where(elements.c.thread_id == thread_id, elements.c.owner_id == owner_id)
        .returning(elements.c.object_key)
    )
    return [key for key in deleted.scalars() if key]


def _seen_by(viewer_id: str) -> sa.ColumnElement[bool]:
    """Who may see an element: its owner."""
    return elements.c.owner_id == viewer_id


def _put(
    connection: Connection, owner: Owner, new: NewElement, stored: StoredObject | None
) -> _Kept:
    """Insert or replace; `NotFound` for an id of another thread, or of someone else."""
    now = datetime.now(UTC)
    thread = lock_thread(connection, owner.id, new.thread_id)
    lock_id(connection, new.id)
    before = connection.execute(_FIND, {"element": new.id, "owner": owner.id}).first()
    if before and before.thread_id != new.thread_id:
        raise NotFound(_NO_ELEMENT)
    if is_buried(connection, owner.id, new.id):
        return _Kept(None)
    with all_or_nothing(connection, thread):
        if thread is None:
            new_thread(connection, owner, new.thread_id, now)
        row = connection.execute(_upsert(connection, owner, new, stored, now)).first()
        if row is None:
            raise NotFound(_NO_ELEMENT)
    replaced = before.object_key if before and before.object_key != row.object_key else None
    return _Kept(row, [replaced] if replaced else [])


def _copy(
    connection: Connection, owner_id: str, thread_id: str, step_id: str, to_step_id: str
) -> list[str]:
    if lock_thread(connection, owner_id, thread_id) is None:
        raise NotFound(_NO_ELEMENT)
    found = elements_of(connection, owner_id, thread_id, [step_id])
    copies = [{**row._mapping, "id": str(uuid4()), "step_id": to_step_id} for row in found]
    if copies:
        connection.execute(sa.insert(elements), copies)
    return [copy["id"] for copy in copies]


def _upsert(
    connection: Connection,
    owner: Owner,
    new: NewElement,
    stored: StoredObject | None,
    now: datetime,
) -> sa.Executable:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    changing = {
        "step_id": new.step_id,
        "type": new.type,
        "name": new.name,
        "display": new.display,
        "mime": new.mime,
        "object_key": stored.key if stored else None,
        "size_bytes": stored.size_bytes if stored else None,
        "url": new.url,
        "extra": dict(new.extra),
    }
    identity = {"id": new.id, "thread_id": new.thread_id, "owner_id": owner.id}
    mine = sa.and_(elements.c.owner_id == owner.id, elements.c.thread_id == new.thread_id)
    upsert: sa.Executable = (
        dialect.insert(elements)
        .values(**identity, **changing, created_at=now)
        .on_conflict_do_update(index_elements=[elements.c.id], set_=changing, where=mine)
        .returning(elements)
    )
    return upsert


def _delete(
    connection: Connection, owner: Owner, element_id: str, thread_id: str | None
) -> list[str]:
    lock_id(connection, element_id)
    found = connection.execute(_FIND, {"element": element_id, "owner": owner.id}).first()
    if found and thread_id not in {None, found.thread_id}:
        return []  # it is somewhere else, and stays there
    bury(connection, owner, element_id, datetime.now(UTC))
    statement = sa.delete(elements).where(
        elements.c.id == element_id, elements.c.owner_id == owner.id
    )
    if thread_id is not None:
        statement = statement.where(elements.c.thread_id == thread_id)
    deleted = connection.execute(statement.returning(elements.c.object_key))
    return [key for key in deleted.scalars() if key]


def _attachment(row: AnyRow) -> Attachment:
    return Attachment(
        id=row.id,
        owner_id=row.owner_id,
        key=row.object_key,
        size_bytes=row.size_bytes,
        name=clean_name(row.name),
        mime=clean_type(row.mime),
    )


async def _pieces(content: bytes | Path) -> AsyncGenerator[bytes]:
    if isinstance(content, Path):
        async for piece in read_pieces(content):
            yield piece
    else:
        yield content
