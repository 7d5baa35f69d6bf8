"""Conversation shapes: what the conversations API takes and gives, as JSON."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from parley.chat.conversations import Conversation, Match, Said
from parley.surfaces.wire import UsageShape, usage_shape

# Longer than a name is kept: that is cut at a word.
Title = Annotated[str, Meta(max_length=1000)]


class NewConversation(msgspec.Struct, forbid_unknown_fields=True):
    """Without a title its first message names it."""

    title: Title | None = None
    metadata: dict[str, Any] = {}


class ChangedConversation(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays; in `metadata` null takes a key away."""

    title: Title | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class NewMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message; `tools` are Parley's own that it may use, `replaces` the turn that it says anew."""

    message: str
    model: str | None = None
    tools: list[str] | None = None
    replaces: str | None = None


class MatchShape(msgspec.Struct):
    """Why a search found a conversation."""

    text: str
    message_id: str | None


class ConversationShape(msgspec.Struct, omit_defaults=True):
    """A conversation; `metadata` is null in a list where it is large, `match` is a search's."""

    conversation_id: str
    title: str
    created_at: datetime
    updated_at: datetime
    model: str | None
    metadata: dict[str, Any] | None
    match: MatchShape | UnsetType = UNSET


class ConversationList(msgspec.Struct):
    """A page; `next_cursor` is null on the last."""

    data: list[ConversationShape]
    next_cursor: str | None


class MessageShape(msgspec.Struct):
    """A message; what it cost and how it ended is known of answers only."""

    message_id: str
    role: str
    content: str
    created_at: datetime
    turn_id: str | None
    model: str | None
    usage: UsageShape | None
    finish_reason: str | None


class MessageList(msgspec.Struct):
    """A page; `next_cursor` is null on the last."""

    data: list[MessageShape]
    next_cursor: str | None


def conversation_shape(one: Conversation) -> ConversationShape:
    """Write a conversation."""
    return ConversationShape(
        one.id,
        one.title,
        one.created_at,
        one.updated_at,
        one.model,
        dict(one.metadata) if one.metadata is not None else None,
        _match_shape(one.match) if one.match else UNSET,
    )


def message_shape(one: Said) -> MessageShape:
    """Write a message."""
    return MessageShape(
        one.id,
        one.role.value,
        one.text,
        one.created_at,
        one.turn_id,
        one.model,
        usage_shape(one.usage),
        one.finish_reason.value if one.finish_reason else None,
    )


def _match_shape(match: Match) -> MatchShape:
    return MatchShape(match.text, match.message_id)
