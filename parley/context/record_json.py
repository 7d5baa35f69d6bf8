"""Record JSON: an active context as the bytes that a store outside the process keeps.

What is read may be anything: other programs write under the same key. Only a whole record of this
version and this thread is one.
"""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from parley.chat.turns import ContextRecord, Exchange

VERSION: Final = 1
LIMIT_BYTES = 4 * 2**20

_Tokens = Annotated[int, msgspec.Meta(ge=0)]


class Unreadable(StrEnum):
    """Why bytes are no record."""

    DAMAGED = "damaged"
    FOREIGN = "foreign"
    VERSION = "version"
    TOO_LARGE = "too_large"


class _Message(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str
    turn_id: str
    parent_id: str | None = None  # the turn's; with the user's message only
    tokens: _Tokens | None = None


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]  # VERSION
    thread_id: str
    head: str
    counted_by: str
    messages: tuple[_Message, ...]


class _AnyVersion(msgspec.Struct, frozen=True):
    version: int


_DECODER = msgspec.json.Decoder(_Record)
_VERSION_DECODER = msgspec.json.Decoder(_AnyVersion)
# RecursionError: brackets without end. UnicodeError: half of a surrogate pair.
_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeError)


def encode_record(thread_id: str, record: ContextRecord) -> bytes | None:
    """Write a record; None for one that is too large, or has a text that cannot be written."""
    messages = tuple(message for said in record.exchanges for message in _messages(said))
    kept = _Record(VERSION, thread_id, record.head_turn_id, record.counted_by, messages)
    try:
        data = msgspec.json.encode(kept)
    except _ERRORS:
        return None
    return data if len(data) <= LIMIT_BYTES else None


def decode_record(thread_id: str, data: bytes) -> ContextRecord | Unreadable:
    """Read what was found under a thread's key; never raises."""
    if len(data) > LIMIT_BYTES:
        return Unreadable.TOO_LARGE
    try:
        kept = _DECODER.decode(data)
    except _ERRORS:
        return _why(data)
    if kept.thread_id != thread_id:
        return Unreadable.FOREIGN
    exchanges = _exchanges(kept.messages)
    if exchanges is None or (exchanges and exchanges[-1].turn_id != kept.head):
        return Unreadable.DAMAGED
    return ContextRecord(kept.head, exchanges, kept.counted_by)


def _messages(said: Exchange) -> tuple[_Message, _Message]:
    return (
        _Message("user", said.user_text, said.turn_id, said.parent_id, said.user_tokens),
        _Message("assistant", said.answer_text, said.turn_id, None, said.answer_tokens),
    )


def _exchanges(messages: tuple[_Message, ...]) -> tuple[Exchange, ...] | None:
    """Pair questions with their answers; None where one has none, or a turn is there twice."""
    if len(messages) % 2:
        return None
    exchanges = tuple(
        Exchange(
            user.turn_id, user.parent_id, user.content, answer.content, user.tokens, answer.tokens
        )
        for user, answer in list(pairwise(messages))[::2]
        if (user.role, answer.role) == ("user", "assistant")
        and user.turn_id == answer.turn_id
        and answer.parent_id is None
    )
    whole = len(exchanges) == len(messages) // 2
    return exchanges if whole and len({e.turn_id for e in exchanges}) == len(exchanges) else None


def _why(data: bytes) -> Unreadable:
    """Tell another version's record from what is none at all; a plain list is someone else's."""
    try:
        found = _VERSION_DECODER.decode(data).version
    except _ERRORS:
        return Unreadable.FOREIGN if data.lstrip()[:1] == b"[" else Unreadable.DAMAGED
    return Unreadable.DAMAGED if found == VERSION else Unreadable.VERSION
