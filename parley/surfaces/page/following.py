"""Following: the turns of a thread as they run, in every page that has it open.

A page reads what it began itself. What was begun elsewhere, on another device or through another
surface, it hears of, shows the thread anew and reads on from there. Where a thread of its owner is
named or deleted, this one or another, it lists them anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from uuid import uuid4

from chainlit.server import sio
from chainlit.session import WebsocketSession

from parley.chat.engine import Engine
from parley.chat.errors import NotFound, ParleyError
from parley.chat.news import CaughtUp, Changed, Deleted, Heard, TurnNews
from parley.chat.turns import Owner, Turn, TurnState
from parley.observability.logs import get_logger
from parley.surfaces.page.offering import Offering
from parley.surfaces.page.reader import SocketGone, read_turn
from parley.surfaces.page.showing import Shown, list_anew, show_gone

logger = get_logger(__name__)

_PAUSE_S = 2.0
Learn = Callable[[WebsocketSession], Awaitable[None]]


@dataclass(slots=True)
class _Socket:
    """What one socket has sent or read, has seen, and the task that listens for it.

    `shows` is held by who shows it a turn: the page has one sign that something runs.
    """

    sent: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    shows: asyncio.Lock = field(default_factory=asyncio.Lock)
    listening: asyncio.Task[None] | None = None


class Following:
    """Reads turns into sockets: each turn once in each socket."""

    def __init__(self, engine: Engine, shown: Shown, offering: Offering) -> None:
        """Follow the turns of this engine."""
        self._offering = offering
        self._engine = engine
        self._shown = shown
        self._sockets: dict[str, _Socket] = {}

    def sends(self, session: WebsocketSession, user_step_id: str) -> None:
        """Take note of a message that this socket is about to send: it shows it already."""
        with suppress(SocketGone):
            self._of(session).sent.add(user_step_id)

    async def go_on(self, session: WebsocketSession, turn: Turn | None) -> None:
        """Show a turn to its end, unless this socket reads it or has; raises `SocketGone`."""
        socket = self._of(session)
        if turn and turn.id not in socket.seen:
            socket.seen.add(turn.id)
            async with socket.shows:
                await self._read(session, socket, turn)

    async def _read(self, session: WebsocketSession, socket: _Socket, turn: Turn) -> None:
        offers_local = self._offering.is_for(session)
        socket.sent.add(turn.user_step_id)
        if not await read_turn(session, self._engine, turn, offers_local=offers_local):
            socket.seen.discard(turn.id)

    async def show(self, session: WebsocketSession) -> bool:
        """Put the thread into the page, and what runs in it; False where there is none."""
        thread = await self._shown.read(session)
        if thread is None:
            return False
        await self._shown.show(session, thread)
        return True

    async def listen(self, session: WebsocketSession, owner: Owner, learn: Learn) -> None:
        """Read what is begun elsewhere, until the socket is gone; once for each socket.

        Where something else was chosen elsewhere, the session may `learn` it. Raises `SocketGone`.
        """
        socket = self._of(session)
        if socket.listening is not None:
            return
        socket.listening = asyncio.current_task()
        socket_id = session.socket_id
        while session.socket_id == socket_id:
            try:
                await self._hear(session, owner, learn)
            except NotFound:  # deleted before anybody listened
                async with socket.shows:
                    await show_gone(session)
                return
            except ParleyError as error:
                logger.warning("Listening again in a moment", code=error.code)
                await asyncio.sleep(_PAUSE_S)

    def leave(self, socket_id: str) -> None:
        """Forget a socket that is gone."""
        socket = self._sockets.pop(socket_id, None)
        if socket and socket.listening:
            socket.listening.cancel()

    async def _hear(self, session: WebsocketSession, owner: Owner, learn: Learn) -> None:
        async with aclosing(self._engine.listen(owner.id, session.thread_id)) as arriving:
            async for news in arriving:
                await self._heard(session, owner, news)
                if isinstance(news, CaughtUp) or news == Changed(owner.id, session.thread_id):
                    await learn(session)

    async def _heard(self, session: WebsocketSession, owner: Owner, news: Heard) -> None:
        socket = self._of(session)
        if isinstance(news, CaughtUp):
            await self._catch_up(session, socket)
            return
        if isinstance(news, Changed):
            return
        if not isinstance(news, TurnNews):
            await list_anew(session, f"{news} {uuid4()}")
            if news == Deleted(owner.id, session.thread_id):
                async with socket.shows:
                    await show_gone(session)
            return
        if news.state is TurnState.QUEUED or news.turn_id in socket.seen:
            return
        turn = await self._engine.turn(owner.id, news.turn_id)
        if turn.user_step_id in socket.sent:
            return
        async with socket.shows:
            await self.show(session)
            socket.seen.add(turn.id)
            if not turn.state.is_over:
                await self._read(session, socket, turn)

    async def _catch_up(self, session: WebsocketSession, socket: _Socket) -> None:
        """Show what began and ended between the reading of the thread and the listening."""
        if socket.shows.locked():  # what runs now began later, and its thread was read then
            return
        async with socket.shows:
            thread = await self._shown.grown(session)
            if thread is None:
                return
            asked = [s["id"] for s in thread["steps"] if s["type"] == "user_message"]
            if not asked or asked[-1] not in socket.sent:
                await self._shown.show(session, thread)

    def _of(self, session: WebsocketSession) -> _Socket:
        """Give what is known of the session's socket; one that is gone would never be forgotten."""
        if not sio.manager.is_connected(session.socket_id, "/"):
            raise SocketGone
        return self._sockets.setdefault(session.socket_id, _Socket())
