"""Socket: Chainlit's Socket.IO events, taken over.

Everything a client sends is checked here first: Chainlit would use a session id as part of a path
and a thread id as it comes. What is ours is registered in place of Chainlit's own handlers;
tests/integration/test_chainlit_seams.py says whether the installed version still has them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

from asgi_correlation_id import correlation_id
from chainlit.context import init_ws_context
from chainlit.data.base import BaseDataLayer
from chainlit.emitter import ChainlitEmitter
from chainlit.server import sio
from chainlit.session import WebsocketSession
from chainlit.socket import restore_existing_session
from chainlit.user import PersistedUser
from starlette.requests import HTTPConnection

from parley.auth.callers import Callers
from parley.chat.engine import Engine
from parley.chat.errors import InternalError, InvalidRequest, ParleyError
from parley.chat.owner import current_owner
from parley.chat.turns import Owner, Turn, TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.page.reader import read_turn, show_error

logger = get_logger(__name__)

_FAILED = "Something went wrong here. The log has it under the id below."
# Chainlit's events that Parley has no use for; unhandled, they are ignored.
_UNUSED = (
    "audio_start",
    "audio_chunk",
    "audio_end",
    "chat_settings_change",
    "chat_settings_edit",
    "message_favorite",
    "window_message",
)


@dataclass(frozen=True, slots=True)
class Page:
    """What the page's handlers work with."""

    engine: Engine
    callers: Callers
    data_layer: BaseDataLayer


def take_over_socket(page: Page) -> None:
    """Register our handlers in place of Chainlit's, for the whole process."""
    handlers = _Handlers(page)
    sio.on("connect", handlers.connect)
    sio.on("connection_successful", handlers.connection_successful)
    sio.on("client_message", handlers.client_message)
    sio.on("edit_message", handlers.edit_message)
    sio.on("stop", handlers.stop)
    for event in _UNUSED:
        sio.handlers["/"].pop(event, None)


class _Handlers:
    def __init__(self, page: Page) -> None:
        self._page = page
        # Sessions that asked for a thread which is not theirs, until they were told.
        self._lost_threads: set[str] = set()

    async def connect(self, sid: str, environ: dict[str, Any], auth: object) -> bool:
        """Accept a browser whose ids are ids, as the user that its cookie says it is."""
        owner = self._page.callers.of_browser(HTTPConnection(environ["asgi.scope"]))
        user = await self._user(owner)
        if owner is None or user is None or not isinstance(auth, Mapping):
            raise ConnectionRefusedError("authentication failed")
        session_id, thread_id = _uuid(auth.get("sessionId")), _uuid(auth.get("threadId"))
        if session_id is None or (thread_id is None and auth.get("threadId")):
            raise ConnectionRefusedError("sessionId and threadId must be UUIDs")
        with _as_owner(owner):
            if thread_id and await self._page.data_layer.get_thread(thread_id) is None:
                thread_id = None  # unknown or foreign: the page says so, see below

        def emit(event: str, data: object) -> Any:
            return sio.emit(event, data, to=sid)

        def emit_call(event: Literal["ask", "call_fn"], data: Any, timeout: int | None) -> Any:
            return sio.call(event, data, timeout=timeout, to=sid)

        if restore_existing_session(sid, session_id, emit, emit_call, environ, user=user):
            return True
        WebsocketSession(
            id=session_id,
            socket_id=sid,
            emit=emit,
            emit_call=emit_call,
            client_type="webapp",
            user_env={},
            user=user,
            thread_id=thread_id,
            environ=environ,
        )
        if auth.get("threadId") and thread_id is None:
            self._lost_threads.add(session_id)
        return True

    async def connection_successful(self, sid: str) -> None:
        """Show what the thread holds, and go on with the turn that runs in it."""
        session = WebsocketSession.require(sid)
        owner = _owner(session)
        context = init_ws_context(session)
        await context.emitter.task_end()  # type: ignore[no-untyped-call]  # Chainlit has no type here
        if session.id in self._lost_threads:
            self._lost_threads.discard(session.id)
            await context.emitter.send_resume_thread_error("Thread not found.")
            return
        with _as_owner(owner):
            thread_id = session.thread_id_to_resume
            if thread_id and (thread := await self._page.data_layer.get_thread(thread_id)):
                session.has_first_interaction = True
                first = {"interaction": "resume", "thread_id": thread_id}
                await context.emitter.emit("first_interaction", first)
                await context.emitter.resume_thread(thread)
            if session.has_first_interaction:
                running = await self._page.engine.running(owner.id, session.thread_id)
                if running:
                    await self._read(session, running)

    async def client_message(self, sid: str, payload: object) -> None:
        """Make a turn of a message, and show it."""
        session = WebsocketSession.require(sid)
        correlation_id.set(uuid4().hex)
        init_ws_context(session)
        try:
            await self._answer(session, *_message(payload))
        except ParleyError as error:
            logger.warning("Refused", code=error.code)
            await show_error(session, str(uuid4()), session.thread_id, error.message)
        except Exception:  # the process's edge: the user is told, the log has the story
            logger.exception("Message failed")
            await show_error(
                session, str(uuid4()), session.thread_id, InternalError(_FAILED).message
            )

    async def edit_message(self, sid: str, _payload: object) -> None:
        """Refuse: edits are off until they are built as branches."""
        session = WebsocketSession.require(sid)
        await show_error(session, str(uuid4()), session.thread_id, "Messages cannot be edited yet.")

    async def stop(self, sid: str) -> None:
        """Stop the turn that runs in the session's thread."""
        session = WebsocketSession.require(sid)
        owner = _owner(session)
        with _as_owner(owner):
            running = await self._page.engine.running(owner.id, session.thread_id)
            if running:
                await self._page.engine.stop(owner.id, running.id)

    async def _answer(self, session: WebsocketSession, message_id: str, text: str) -> None:
        owner = _owner(session)
        request = TurnRequest(
            owner=owner,
            thread_id=session.thread_id,
            text=text,
            key=message_id,
            user_step_id=message_id,
        )
        begun = await self._page.engine.submit(request)
        if not session.has_first_interaction:
            session.has_first_interaction = True
            first = {"interaction": text[:100], "thread_id": session.thread_id}
            await ChainlitEmitter(session).emit("first_interaction", first)
        await self._read(session, begun.turn)

    async def _read(self, session: WebsocketSession, turn: Turn) -> None:
        await read_turn(session, turn, self._page.engine.follow(turn))

    async def _user(self, owner: Owner | None) -> Any:
        if owner is None:
            return None
        with _as_owner(owner):
            return await self._page.data_layer.get_user(owner.identifier)


def _owner(session: WebsocketSession) -> Owner:
    assert isinstance(session.user, PersistedUser)
    return Owner(session.user.id, session.user.identifier)


@contextmanager
def _as_owner(owner: Owner) -> Iterator[None]:
    token = current_owner.set(owner)
    try:
        yield
    finally:
        current_owner.reset(token)


def _uuid(value: object) -> str | None:
    """Give the value back if it is a UUID as `str(UUID)` writes it."""
    try:
        canonical = str(UUID(str(value)))
    except ValueError:
        return None
    return canonical if canonical == value else None


def _message(payload: object) -> tuple[str, str]:
    """Take id and text from what a client sent; the rest of its step is not believed."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise InvalidRequest("This is not a message.")
    message_id, text = _uuid(message.get("id")), message.get("output")
    if message_id is None or not isinstance(text, str):
        raise InvalidRequest("A message needs a UUID as its id, and text.")
    return message_id, text
