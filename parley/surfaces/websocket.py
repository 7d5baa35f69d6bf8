"""``WS /ws``: text in, events out, many messages and conversations on one socket.

Messages are taken one after the other and answered side by side: those of one conversation in
their order, by the engine's queue. A reader that lags gets fewer, longer events; while it takes
nothing, nothing more is taken from it. Turns go on when the socket is gone.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar, assert_never
from uuid import UUID, uuid4

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from parley.auth.callers import Callers
from parley.auth.principal import Principal, Scope
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, NotFound, ParleyError, RateLimited
from parley.chat.turns import Extras, Owner, Turn, TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.following import followed
from parley.surfaces.http.ids import checked_id
from parley.surfaces.http.places import Places
from parley.surfaces.owners import uuid_or_missing
from parley.surfaces.sessions import thread_of
from parley.surfaces.socket_frames import (
    FollowFrame,
    Frame,
    MessageFrame,
    OldFrame,
    PingFrame,
    StopFrame,
    Writer,
    error_frame,
    old,
    old_frame,
    pong,
    read_frame,
    typed,
    whole,
)

logger = get_logger(__name__)

PATHS = ("/ws", "/ws/chat")
# Of RFC 6455 and its registry: refused, and try again later.
_REFUSED, _FULL = 1008, 1013
_MOST_READERS = 100
_BEYOND = 2**63


def socket_routes(engine: Engine, callers: Callers, places: Places) -> list[WebSocketRoute]:
    """Make the routes; `places` are those of every door together."""

    async def serve(websocket: WebSocket) -> None:
        try:
            principal = callers.of_socket(websocket)
            principal.require(Scope.CHAT)
        except ParleyError as error:
            logger.warning("Refused", path=websocket.url.path, code=error.code)
            await websocket.close(_REFUSED)
            return
        if places.are_full(principal.owner):
            logger.warning("Refused", path=websocket.url.path, full=True)
            await websocket.close(_FULL)
            return
        with places.one(principal.owner):
            await websocket.accept()
            await Line(websocket, engine, callers, principal).serve()

    return [WebSocketRoute(path, serve) for path in PATHS]


class _Gone(Exception):
    """Nobody takes what is sent any more."""


class Line:
    """One socket: hears what its client says, and reads turns for it."""

    PATIENCE_S: ClassVar[float] = 30.0

    def __init__(
        self, websocket: WebSocket, engine: Engine, callers: Callers, principal: Principal
    ) -> None:
        """Serve an accepted socket of this caller."""
        self._websocket = websocket
        self._engine = engine
        self._callers = callers
        self._owner = principal.owner
        self._is_plain = websocket.query_params.get("format") == "text"
        self._own_thread_id = str(uuid4())
        self._sending = asyncio.Lock()
        self._readers: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serve until the client is gone, or takes nothing for `PATIENCE_S`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._listen(tasks)
                for reader in self._readers:
                    reader.cancel()
        except* _Gone:
            pass

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            async with self._sending:
                pass  # who does not listen is not listened to
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._hear(message.get("text"), tasks)

    async def _hear(self, text: str | None, tasks: asyncio.TaskGroup) -> None:
        """Do what a frame says; whatever is wrong with it, the socket stays open."""
        frame: Frame | OldFrame | None = None
        try:
            if text is None:
                raise InvalidRequest("Send text frames: a message, or JSON.")
            frame = MessageFrame(text) if self._is_plain else read_frame(text)
            await self._do(frame, tasks)
        except ParleyError as error:
            logger.warning("Refused", path=self._websocket.url.path, code=error.code)
            await self._send(self._refusal(frame, error))

    def _refusal(self, frame: Frame | OldFrame | None, error: ParleyError) -> str:
        if self._is_plain:
            return error.message
        if isinstance(frame, OldFrame):
            return old_frame(frame.id, error.message)
        return error_frame(error, frame.id if isinstance(frame, MessageFrame) else None)

    async def _do(self, frame: Frame | OldFrame, tasks: asyncio.TaskGroup) -> None:
        if isinstance(frame, PingFrame):
            await self._send(pong())
            return
        if self._callers.limits:
            await self._callers.limits.check_request(self._owner)
        match frame:
            case StopFrame(turn_id=turn_id):
                await self._engine.stop(self._owner.id, uuid_or_missing(turn_id, "turn"))
            case FollowFrame(turn_id=turn_id, after=after):
                if not 0 <= after < _BEYOND:
                    raise InvalidRequest("after must be the seq of an event of this turn, or 0.")
                turn = await self._engine.turn(self._owner.id, uuid_or_missing(turn_id, "turn"))
                self._read(turn, typed(None), tasks, after)
            case OldFrame(id=id, text=text):
                self._read(await self._submit(MessageFrame(text, id)), old(id), tasks)
            case MessageFrame():
                writer = whole if self._is_plain else typed(frame.id)
                self._read(await self._submit(frame), writer, tasks)
            case _:
                assert_never(frame)

    async def _submit(self, frame: MessageFrame) -> Turn:
        if len(self._readers) >= _MOST_READERS:
            raise RateLimited(
                f"This socket waits for {_MOST_READERS} answers. Wait for one.", retry_after_s=1
            )
        owner, thread_id = await self._thread(frame.conversation_id)
        begun = await self._engine.submit(
            TurnRequest(
                owner=owner,
                thread_id=thread_id,
                text=frame.message,
                model=frame.model,
                key=frame.id,
                extras=Extras(use_tools=None if frame.tools is None else tuple(frame.tools)),
            )
        )
        return begun.turn

    async def _thread(self, conversation_id: str | None) -> tuple[Owner, str]:
        """Find the conversation: by its id, or by a name that the client chose, as `/chat` does."""
        if conversation_id is None:
            return self._owner, self._own_thread_id
        checked_id(conversation_id, "conversation_id")
        if _is_uuid(conversation_id):
            thread_id = uuid_or_missing(conversation_id, "conversation")
            if thread_id != self._own_thread_id and not await self._engine.owns_thread(
                self._owner.id, thread_id
            ):
                raise NotFound("There is no such conversation.")
            return self._owner, thread_id
        session = self._callers.of_session(self._websocket, conversation_id)
        return await thread_of(self._engine, session)

    def _read(self, turn: Turn, write: Writer, tasks: asyncio.TaskGroup, after: int = 0) -> None:
        if len(self._readers) >= _MOST_READERS:
            raise RateLimited(f"This socket reads {_MOST_READERS} turns. Wait for one.")
        frames = write(followed(self._engine, turn, after, resumes=not self._is_plain))
        reader = tasks.create_task(self._pass_on(frames))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _pass_on(self, frames: AsyncGenerator[str]) -> None:
        async with aclosing(frames):
            async for frame in frames:
                await self._send(frame)

    async def _send(self, frame: str) -> None:
        """Send; raises `_Gone` where the client is gone or takes nothing."""
        try:
            async with self._sending, asyncio.timeout(self.PATIENCE_S):
                await self._websocket.send_text(frame)
        except TimeoutError:
            logger.warning("Socket dropped: it took nothing", seconds=self.PATIENCE_S)
            raise _Gone from None
        except (WebSocketDisconnect, WebSocketDisconnected):
            raise _Gone from None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
