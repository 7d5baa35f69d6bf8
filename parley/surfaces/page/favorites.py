"""Favourites: questions that a user keeps at hand, to ask them again."""

from collections.abc import Mapping
from typing import Any

from chainlit.data.base import BaseDataLayer
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from chainlit.user import PersistedUser

from parley.chat.errors import InvalidRequest


async def show_favorites(session: WebsocketSession, data_layer: BaseDataLayer) -> None:
    """Tell the page which they are."""
    assert isinstance(session.user, PersistedUser)
    kept = await data_layer.get_favorite_steps(session.user.id)
    await ChainlitEmitter(session).set_favorites(kept)


async def mark_favorite(
    session: WebsocketSession, data_layer: BaseDataLayer, payload: object
) -> None:
    """Mark a message of the user's, or take the mark away; nothing else of it is believed."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(message.get("id"), str):
        raise InvalidRequest("This is not a message.")
    metadata: Any = message.get("metadata")
    favorite = isinstance(metadata, Mapping) and metadata.get("favorite") is True
    try:
        marked = StepDict(id=message["id"])  # all that is believed
        await data_layer.set_step_favorite(marked, favorite)
    finally:
        # Also after a refusal: the page has changed its list already.
        await show_favorites(session, data_layer)
