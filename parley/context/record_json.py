"""Record JSON: an active context as the bytes that a store outside the process keeps.

What is read may be anything: other programs write under the same key. Only a whole record of this
version and this thread is one. A digest over all that it says tells damage that is still JSON; it
is no signature, and whoever may write to the store can make one.
"""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from parley.chat.tools import ToolUse
from parley.chat.turns import ContextRecord, Exchange

VERSION: Final = 3
LIMIT_BYTES = 4 * 2**20

# Beside its text a message has a role, separators, and what a server puts before and after it.
_MOST_OVERHEAD = 64
_Tokens = Annotated[int, msgspec.Meta(gt=0)]


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
    tools: tuple[ToolUse, ...] = ()  # with the answer's message only


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[3]  # VERSION
    thread_id: str
    head: str
    counted_by: str
    digest: str
    messages: msgspec.Raw


class _AnyVersion(msgspec.Struct, frozen=True):
    version: int


_DECODER = msgspec.json.Decoder(_Record)
_MESSAGES_DECODER = msgspec.json.Decoder(tuple[_Message, ...])
_VERSION_DECODER = msgspec.json.Decoder(_AnyVersion)
# RecursionError: brackets without end. UnicodeError: half of a surrogate pair.
_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeError)


def encode_record(thread_id: str, record: ContextRecord) -> bytes | None:
    """Write a record; None for one that is too large, or has a text that cannot be written."""
    names = (thread_id, record.head_turn_id, record.counted_by)
    try:
        said = msgspec.json.encode([m for e in record.exchanges for m in _messages(e)])
        data = msgspec.json.encode(
            _Record(VERSION, *names, _digest(names, said), msgspec.Raw(said))
        )
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
    exchanges = _read(kept)
    if exchanges is None or (exchanges and exchanges[-1].turn_id != kept.head):
        return Unreadable.DAMAGED
    return ContextRecord(kept.head, exchanges, kept.counted_by)


def _digest(names: tuple[str, str, str], said: bytes | msgspec.Raw) -> str:
    return blake2b(msgspec.json.encode(names) + bytes(said), digest_size=16).hexdigest()


def _read(kept: _Record) -> tuple[Exchange, ...] | None:
    """Read the messages; None where they are not those that were written, or could not be."""
    try:
        if kept.digest != _digest((kept.thread_id, kept.head, kept.counted_by), kept.messages):
            return None
        messages = _MESSAGES_DECODER.decode(kept.messages)
    except _ERRORS:
        return None
    possible = all(m.tokens is None or m.tokens <= _most_tokens(m.content) for m in messages)
    exchanges = _exchanges(messages)
    return exchanges if possible and exchanges is not None and _is_chain(exchanges) else None


def _most_tokens(text: str) -> int:
    """Bound the tokens of a message: no tokenizer makes two of one byte."""
    return len(text.encode()) + _MOST_OVERHEAD


def _is_chain(exchanges: Sequence[Exchange]) -> bool:
    """Whether each turn follows the one before: rows have no gaps, the steps of a turn stay."""
    return all(after.parent_id == before.turn_id for before, after in pairwise(exchanges))


def _messages(said: Exchange) -> tuple[_Message, _Message]:
    asked, answered = said.user_text, said.answer_text
    return (
        _Message("user", asked, said.turn_id, said.parent_id, _count(asked, said.user_tokens)),
        _Message(
            "assistant",
            answered,
            said.turn_id,
            None,
            _count(answered, said.answer_tokens),
            said.tools,
        ),
    )


def _count(text: str, tokens: int | None) -> int | None:
    """Leave out a count that is not possible: the message is counted anew."""
    return tokens if tokens is not None and 0 < tokens <= _most_tokens(text) else None


def _exchanges(messages: tuple[_Message, ...]) -> tuple[Exchange, ...] | None:
    """Pair questions with their answers; None where one has none, or a turn is there twice."""
    if len(messages) % 2:
        return None
    exchanges = tuple(
        Exchange(
            user.turn_id,
            user.parent_id,
            user.content,
            answer.content,
            user.tokens,
            answer.tokens,
            answer.tools,
        )
        for user, answer in list(pairwise(messages))[::2]
        if (user.role, answer.role) == ("user", "assistant")
        and user.turn_id == answer.turn_id
        and answer.parent_id is None
        and not user.tools
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
