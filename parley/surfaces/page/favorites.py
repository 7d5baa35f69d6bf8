"""Favourites: questions that a user keeps at hand, to ask them again."""

from collections.abc import Mapping
from typing import Any

from chainlit.data.base import BaseDataLayer
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from chainlit.user import PersistedUser

from parley.chat.errors import InvalidRequest
from parley.surfaces.page.reader import socket_ready

# What the page has of them: it is sent whole whenever one changes.
_SHOWN = 100
_SHOWN_CHARS = 4000


class Favorites:
    """Shows the favourites of users, to each socket when it has taken the last."""

    def __init__(self, data_layer: BaseDataLayer) -> None:
        """Keep them in this data layer."""
        self._data_layer = data_layer
        # Sockets that are being shown theirs, and whether to read them again then.
        self._again: dict[str, bool] = {}

    async def show(self, session: WebsocketSession) -> None:
        """Tell the page which they are; raises `SocketGone`."""
        socket_id = session.socket_id
        if socket_id in self._again:
            self._again[socket_id] = True
            return
        self._again[socket_id] = True
        try:
            while self._again[socket_id]:
                await socket_ready(session, socket_id, most_waiting=1)
                self._again[socket_id] = False
                await self._show(session)
        finally:
            del self._again[socket_id]

    async def mark(self, session: WebsocketSession, payload: object) -> None:
        """Mark a message of the user's, or take the mark away; nothing else of it is believed."""
        message = payload.get("message") if isinstance(payload, Mapping) else None
        if not isinstance(message, Mapping) or not isinstance(message.get("id"), str):
            raise InvalidRequest("This is not a message.")
        metadata: Any = message.get("metadata")
        favorite = isinstance(metadata, Mapping) and metadata.get("favorite") is True
        try:
            marked = StepDict(id=message["id"])  # all that is believed
            await self._data_layer.set_step_favorite(marked, favorite)
        finally:
            # Also after a refusal: the page has changed its list already.
            await self.show(session)

    async def _show(self, session: WebsocketSession) -> None:
        assert isinstance(session.user, PersistedUser)
        kept = (await self._data_layer.get_favorite_steps(session.user.id))[:_SHOWN]
        for step in kept:
            step["input"], step["output"] = "", step["output"][:_SHOWN_CHARS]
        await ChainlitEmitter(session).set_favorites(kept)
