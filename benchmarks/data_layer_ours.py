"""Parley's layer on the data of the corpus: a database filled, a layer and an engine on it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from benchmarks.data_layer_corpus import Message, Thread
from benchmarks.data_layer_fill import Round, rounds
from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.migrate import migrate
from data_layer.tables import steps, threads, turns, users
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer, open_writer
from parley.chat.models import Sampling
from parley.chat.turns import Owner

_USER, _THREAD = sa.insert(users), sa.insert(threads)
_TURN, _STEP = sa.insert(turns), sa.insert(steps)
# PostgreSQL makes the words of a text; a core for each.
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Ours:
    """What Parley reads and writes through."""

    database: Database
    writer: Writer

    @property
    def turns(self) -> SqlTurnStore:
        """The engine's store."""
        return SqlTurnStore(self.database, self.writer)

    def layer(self, shown_messages: int | None = 100) -> ChainlitLayer:
        """Make a layer that shows the last messages of a thread; None is all of them."""
        return ChainlitLayer(self.database, self.writer, shown_messages=shown_messages)


@asynccontextmanager
async def open_ours(url: str) -> AsyncIterator[Ours]:
    """Open a migrated database with the settings of a server."""
    async with open_database(DatabaseConfig(url=url)) as database, open_writer(database) as writer:
        yield Ours(database, writer)


def new_owner() -> Owner:
    """Make somebody whom nobody knows yet."""
    return Owner(str(uuid4()), f"user-{uuid4()}")


async def create_ours(url: str) -> None:
    """Make the tables."""
    async with open_database(_patient(url)) as database:
        await migrate(database)


async def fill_ours(url: str, owner: Owner, some: Iterable[Thread]) -> None:
    """Write threads of one owner past the layer; the database's triggers index their words."""
    todo = rounds(_rows(owner, thread) for thread in some)

    async def work(database: Database) -> None:
        for one in todo:
            await database.write(partial(_insert, one))

    async with open_database(_patient(url)) as database:
        await database.write(partial(_insert, {_USER: [_user(owner)]}))
        await asyncio.gather(*(work(database) for _ in range(_WORKERS)))


def _patient(url: str) -> DatabaseConfig:
    return DatabaseConfig(url=url, command_timeout_s=120)


def _insert(one: Round, connection: Connection) -> None:
    for statement, rows in one.items():
        connection.execute(statement, rows)


def _user(owner: Owner) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"id": owner.id, "identifier": owner.identifier, "metadata": {}, "created_at": now}


def _rows(owner: Owner, thread: Thread) -> Round:
    turn_ids = [str(uuid4()) for message in thread.messages if message.is_answer]
    rows: Round = {_THREAD: [_thread(owner, thread, turn_ids)], _TURN: [], _STEP: []}
    questions, answers = thread.messages[::2], thread.messages[1::2]
    said = zip(turn_ids, [None, *turn_ids], questions, answers, strict=False)
    for arrival, (turn_id, parent, question, answer) in enumerate(said, 1):
        place = {"thread_id": thread.id, "owner_id": owner.id, "arrival": arrival}
        rows[_TURN].append(place | _turn(turn_id, parent, question, answer))
        step = place | {"turn_id": turn_id}
        rows[_STEP] += [step | _step(question), step | _step(answer)]
    return rows


def _thread(owner: Owner, thread: Thread, turn_ids: list[str]) -> dict[str, Any]:
    return {
        "id": thread.id,
        "owner_id": owner.id,
        "name": thread.name,
        "metadata": {},
        "head_turn_id": turn_ids[-1] if turn_ids else None,
        "last_arrival": len(turn_ids),
        "created_at": thread.last_active_at,
        "last_active_at": thread.last_active_at,
    }


def _turn(turn_id: str, parent: str | None, question: Message, answer: Message) -> dict[str, Any]:
    return {
        "id": turn_id,
        "parent_turn_id": parent,
        "key": turn_id,
        "digest": turn_id,
        "state": "completed",
        "model": "bench:model",
        "sampling": asdict(Sampling()),
        "user_step_id": question.id,
        "answer_step_id": answer.id,
        "finish_reason": "stop",
        "replica_id": "bench",
        "fence": 1,
        "stop_requested": False,
        "created_at": question.created_at,
        "started_at": question.created_at,
        "ended_at": answer.created_at,
    }


def _step(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "ordinal": int(message.is_answer),
        "type": "assistant_message" if message.is_answer else "user_message",
        "name": "assistant" if message.is_answer else "user",
        "input": "",
        "output": message.text,
        "reasoning": "",
        "is_error": False,
        "metadata": {},
        "created_at": message.created_at,
        "ended_at": message.created_at,
    }
