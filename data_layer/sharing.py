"""Sharing: a thread that others may read, until its owner takes that back.

Whoever reads sees the title and what was said on the chosen branch. Never who said it, nor what is
kept for the owner: metadata, reasoning, errors, receipts, what an answer cost. A thread that is not
shared, was deleted or never was: the three look the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import ThreadDict
from sqlalchemy.engine import Connection

from data_layer.branches import branch_of
from data_layer.database import Database
from data_layer.element_dicts import element_dict
from data_layer.elements import elements_of
from data_layer.rows import AnyRow
from data_layer.storable import iso, uuid_or_none
from data_layer.tables import elements, steps, threads
from data_layer.writer import Writer
from parley.chat.attachments import shared_download_path
from parley.chat.errors import NotFound

_NAMES = {"user_message": "User", "assistant_message": "Assistant"}
_MOST_TURNS = 500
_MOST_MESSAGES = 1000

_SHARE = (
    sa.update(threads)
    .where(
        threads.c.id == sa.bindparam("thread"),
        threads.c.owner_id == sa.bindparam("owner"),
        threads.c.deleted_at.is_(None),
    )
    .values(
        shared_at=sa.case(
            (
                sa.bindparam("is_shared", type_=sa.Boolean),
                sa.func.coalesce(
                    threads.c.shared_at, sa.bindparam("now", type_=threads.c.shared_at.type)
                ),
            ),
            else_=sa.null(),
        )
    )
    .returning(threads.c.id)
)
_SHARED = sa.select(threads).where(
    threads.c.id == sa.bindparam("thread"),
    threads.c.shared_at.is_not(None),
    threads.c.deleted_at.is_(None),
)


def _said_statement(
    head: sa.BindParameter[str] | sa.ScalarSelect[str],
    owner: sa.BindParameter[str] | sa.ScalarSelect[str],
) -> sa.Select[*tuple[Any, ...]]:
    branch = branch_of(head, owner, _MOST_TURNS)
    return (
        sa.select(steps.c.id, steps.c.type, steps.c.output, steps.c.created_at)
        .where(
            steps.c.thread_id == sa.bindparam("thread"),
            steps.c.owner_id == owner,
            steps.c.type.in_(_NAMES),
            steps.c.output != "",
            steps.c.is_error.is_(False),
            sa.or_(steps.c.turn_id.is_(None), steps.c.turn_id.in_(sa.select(branch.c.id))),
        )
        .order_by(steps.c.arrival.desc(), steps.c.ordinal.desc())
        .limit(_MOST_MESSAGES)
    )


def _owner_of_file_statement() -> sa.Select[*tuple[Any, ...]]:
    """Find the file if its thread is shared and its step among what that shows."""
    shared = _SHARED.with_only_columns
    head = shared(threads.c.head_turn_id).scalar_subquery()
    owner = shared(threads.c.owner_id).scalar_subquery()
    said = _said_statement(head, owner).with_only_columns(steps.c.id)
    return sa.select(elements.c.owner_id).where(
        elements.c.id == sa.bindparam("element"),
        elements.c.thread_id == sa.bindparam("thread"),
        elements.c.owner_id == owner,
        elements.c.step_id.in_(said),
    )


_SAID = _said_statement(
    sa.bindparam("head", type_=threads.c.head_turn_id.type),
    sa.bindparam("owner", type_=threads.c.owner_id.type),
)
_OWNER_OF_FILE = _owner_of_file_statement()


class SqlSharing:
    """Shares threads of their owner, and shows them to anybody."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Read through `database`, write through `writer`; closes neither."""
        self._database = database
        self._writer = writer

    async def share(self, owner_id: str, thread_id: str, *, is_shared: bool) -> None:
        """Share a thread or take that back, at once; raises `NotFound`."""
        if (thread := uuid_or_none(thread_id)) is None:
            raise _not_found()
        values = {
            "thread": thread,
            "owner": owner_id,
            "is_shared": is_shared,
            "now": datetime.now(UTC),
        }
        if not await self._writer.write(
            lambda connection: connection.execute(_SHARE, values).first()
        ):
            raise _not_found()

    async def view(self, thread_id: str) -> ThreadDict:
        """Read a thread as anybody may see it; raises `NotFound` unless it is shared."""
        if (thread := uuid_or_none(thread_id)) is None:
            raise _not_found()
        found = await self._database.read(lambda connection: _view(connection, thread))
        if found is None:
            raise _not_found()
        return found

    async def owner_of_file(self, thread_id: str, element_id: str) -> str:
        """Say whose a file is that a shared thread shows; raises `NotFound` for any other."""
        values = {"thread": uuid_or_none(thread_id), "element": uuid_or_none(element_id)}
        owner_id: str | None = None
        if None not in values.values():
            owner_id = await self._database.read(
                lambda connection: connection.execute(_OWNER_OF_FILE, values).scalar()
            )
        if owner_id is None:
            raise _not_found()
        return owner_id


def _not_found() -> NotFound:
    return NotFound("There is no such conversation.")


def _view(connection: Connection, thread_id: str) -> ThreadDict | None:
    row = connection.execute(_SHARED, {"thread": thread_id}).first()
    if row is None:
        return None
    said = connection.execute(
        _SAID,
        {
            "thread": row.id,
            "owner": row.owner_id,
            "head": row.head_turn_id,
        },
    ).all()
    shown = {step.id for step in said}
    attached = [
        _element_dict(element) for element in elements_of(connection, row.owner_id, row.id, shown)
    ]
    return _thread_dict(row, said[::-1], attached)


def _thread_dict(row: AnyRow, said: Sequence[AnyRow], attached: list[ElementDict]) -> ThreadDict:
    return ThreadDict(
        id=row.id,
        createdAt=iso(row.last_active_at),
        name=row.name,
        # Chainlit wants these keys; whose thread it is, nobody is told.
        userId="",
        userIdentifier="",
        tags=[],
        metadata={},
        steps=[_step_dict(row.id, step) for step in said],
        elements=attached,
    )


def _element_dict(row: AnyRow) -> ElementDict:
    element = element_dict(row)
    if row.object_key:
        element["url"] = shared_download_path(row.thread_id, row.id)
    return element


def _step_dict(thread_id: str, row: AnyRow) -> StepDict:
    return StepDict(
        id=row.id,
        threadId=thread_id,
        parentId=None,
        # Chainlit calls a user's message by who wrote it.
        name=_NAMES[row.type],
        type=row.type,
        input="",
        output=row.output,
        isError=False,
        streaming=False,
        createdAt=iso(row.created_at),
        start=iso(row.created_at),
        end=iso(row.created_at),
        metadata={},
        showInput=False,
    )
