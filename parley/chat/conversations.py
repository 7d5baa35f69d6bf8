"""Conversations: the threads of an owner as clients read, change, take along and bring back."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from parley.chat.deltas import FinishReason
from parley.chat.messages import Role
from parley.chat.turns import Answer, Extras, Owner, Turn
from parley.chat.usage import Usage

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Match:
    """Why a search found a conversation; `message_id` is None where it is the title."""

    text: str
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread as its owner sees it.

    `model` is that of its newest turn. `metadata` is None in a list where it is large.
    """

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    model: str | None
    metadata: Mapping[str, Any] | None
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some conversations, the newest activity first; `next_cursor` is None on the last page."""

    items: Sequence[Conversation]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a thread's chosen branch; of a question there is no usage and no end."""

    id: str
    role: Role
    text: str
    created_at: datetime
    turn_id: str | None
    model: str | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class SaidPage:
    """Some messages; `next_cursor` is None on the last page."""

    items: Sequence[Said]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class BroughtTurn:
    """A turn that was taken along from elsewhere: it is over, and gets new ids."""

    text: str
    model: str
    created_at: datetime
    answer: Answer
    extras: Extras = field(default_factory=Extras)


class Conversations(Protocol):
    """The threads of one owner at a time; another's and a missing one raise the same `NotFound`.

    All methods raise `StorageUnavailable`; a cursor that is none of ours is an `InvalidRequest`.
    """

    async def page(
        self, owner_id: str, *, limit: int, cursor: str | None, search: str | None
    ) -> ConversationPage:
        """Read a page of all, or of those that a search finds, the best match first."""
        ...

    async def create(
        self, owner: Owner, title: str | None, metadata: Mapping[str, Any]
    ) -> Conversation:
        """Make an empty one; without a title its first turn names it. Raises `TooLarge`."""
        ...

    async def read(self, owner_id: str, thread_id: str) -> Conversation:
        """Read one."""
        ...

    async def change(
        self, owner_id: str, thread_id: str, title: str | None, metadata: Mapping[str, Any]
    ) -> Conversation:
        """Rename it, where a title is given, and merge metadata: None takes a key away."""
        ...

    async def retitle(self, owner_id: str, thread_id: str, before: str, title: str) -> bool:
        """Name it `title` if nobody named it by hand, and it still has the name `before`."""
        ...

    async def delete(self, owner_id: str, thread_id: str) -> None:
        """Delete all of it, for good."""
        ...

    async def messages(
        self, owner_id: str, thread_id: str, *, limit: int, cursor: str | None, order: Order
    ) -> SaidPage:
        """Read the messages of the chosen branch."""
        ...

    def turns(self, owner_id: str, thread_id: str) -> AsyncIterator[Turn]:
        """Read the turns of the chosen branch, the first one first, a few at a time."""
        ...

    async def bring(
        self, owner: Owner, title: str, metadata: Mapping[str, Any], turns: Sequence[BroughtTurn]
    ) -> Conversation:
        """Make a new one of turns that were taken along. Raises `TooLarge`."""
        ...
