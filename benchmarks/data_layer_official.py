"""Chainlit's official layer, as its documentation has it, on the data that ours gets.

It ships no schema: this is the one of its documentation, with the columns that Chainlit 2.12 writes and with indexes
that the documentation leaves out (in its favour).
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.user import User
from sqlalchemy.engine import make_url

from benchmarks.data_layer_corpus import Message, Thread
from benchmarks.data_layer_fill import Round, create, fill, rounds
from parley.chat.turns import Owner

_TABLES = """
CREATE TABLE users ("id" UUID PRIMARY KEY, "identifier" TEXT NOT NULL UNIQUE,
  "metadata" JSONB NOT NULL, "createdAt" TEXT);
CREATE TABLE threads ("id" UUID PRIMARY KEY, "createdAt" TEXT, "name" TEXT,
  "userId" UUID REFERENCES users("id") ON DELETE CASCADE, "userIdentifier" TEXT, "tags" TEXT[],
  "metadata" JSONB);
CREATE TABLE steps ("id" UUID PRIMARY KEY, "name" TEXT NOT NULL, "type" TEXT NOT NULL,
  "threadId" UUID NOT NULL REFERENCES threads("id") ON DELETE CASCADE, "parentId" UUID,
  "streaming" BOOLEAN NOT NULL, "waitForAnswer" BOOLEAN, "isError" BOOLEAN, "metadata" JSONB,
  "tags" TEXT[], "input" TEXT, "output" TEXT, "createdAt" TEXT, "command" TEXT, "start" TEXT,
  "end" TEXT, "generation" JSONB, "showInput" TEXT, "language" TEXT, "indent" INT,
  "defaultOpen" BOOLEAN, "autoCollapse" BOOLEAN, "modes" JSONB, "icon" TEXT);
CREATE TABLE elements ("id" UUID PRIMARY KEY,
  "threadId" UUID REFERENCES threads("id") ON DELETE CASCADE, "type" TEXT, "url" TEXT,
  "chainlitKey" TEXT, "name" TEXT NOT NULL, "display" TEXT, "objectKey" TEXT, "size" TEXT,
  "page" INT, "language" TEXT, "forId" UUID, "mime" TEXT, "props" JSONB);
CREATE TABLE feedbacks ("id" UUID PRIMARY KEY, "forId" UUID NOT NULL,
  "threadId" UUID NOT NULL REFERENCES threads("id") ON DELETE CASCADE, "value" INT NOT NULL,
  "comment" TEXT);
CREATE INDEX threads_user ON threads ("userId");
CREATE INDEX steps_thread ON steps ("threadId", "createdAt");
CREATE INDEX elements_thread ON elements ("threadId");
CREATE INDEX feedbacks_for ON feedbacks ("forId")
"""
_ON_SQLITE = {"UUID": "TEXT", "TEXT[]": "TEXT", "JSONB": "TEXT"}

_THREAD = sa.text(
    """INSERT INTO threads ("id", "createdAt", "name", "userId", "userIdentifier", "metadata")
    VALUES (:id, :created_at, :name, :user_id, :user, :metadata)"""
)
_STEP = sa.text(
    """INSERT INTO steps ("id", "name", "type", "threadId", "streaming", "isError", "metadata",
      "generation", "input", "output", "createdAt", "start", "end", "showInput")
    VALUES (:id, :name, :type, :thread_id, false, false, :metadata, :metadata, '', :output, :at,
      :at, :at, 'false')"""
)


@asynccontextmanager
async def open_official(url: str) -> AsyncIterator[SQLAlchemyDataLayer]:
    """Open the layer on an empty database, with a pool as it makes it itself."""
    tables = _TABLES
    if make_url(url).get_backend_name() == "sqlite":
        for name, stored_as in _ON_SQLITE.items():
            tables = tables.replace(f" {name}", f" {stored_as}")
    await create(url, tables.split(";"))
    layer = SQLAlchemyDataLayer(url)
    try:
        yield layer
    finally:
        await layer.close()


async def official_user(layer: SQLAlchemyDataLayer, name: str) -> Owner:
    """Make a user through the layer itself."""
    user = await layer.create_user(User(identifier=name))
    assert user is not None
    return Owner(user.id, user.identifier)


async def fill_official(url: str, user: Owner, threads: Iterable[Thread]) -> None:
    """Write threads past the layer, which would take an hour."""
    await fill(url, rounds(_rows(user, thread) for thread in threads))


def _rows(user: Owner, thread: Thread) -> Round:
    row = {
        "id": thread.id,
        "created_at": _iso(thread.last_active_at),
        "name": thread.name,
        "user_id": user.id,
        "user": user.identifier,
        "metadata": "{}",
    }
    return {_THREAD: [row], _STEP: [_step(thread, message) for message in thread.messages]}


def _step(thread: Thread, message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "name": "model" if message.is_answer else "user",
        "type": "assistant_message" if message.is_answer else "user_message",
        "thread_id": thread.id,
        "metadata": "{}",
        "output": message.text,
        "at": _iso(message.created_at),
    }


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
