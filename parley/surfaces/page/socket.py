"""Socket: Chainlit's Socket.IO events, taken over.

Everything a client sends is checked here first: Chainlit would use a session id as part of a path
and a thread id as it comes. What is ours is registered in place of Chainlit's own handlers;
tests/integration/test_chainlit_seams.py says whether the installed version still has them.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4
from weakref import WeakSet

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
from parley.chat.attachments import Attachments
from parley.chat.engine import Engine
from parley.chat.errors import InvalidRequest, ParleyError, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.receipts import Receipts
from parley.chat.turns import Owner, Turn, TurnRequest
from parley.observability.logs import get_logger
from parley.surfaces.page.attached import attach_files, file_ids
from parley.surfaces.page.favorites import Favorites
from parley.surfaces.page.markdown import show_steps
from parley.surfaces.page.reader import SocketGone, read_turn, room_in, show_error, socket_ready
from parley.surfaces.page.receipt_button import offer_receipts
from parley.surfaces.page.runs import is_answer, with_runs
from parley.surfaces.page.sharing import Sharing

logger = get_logger(__name__)

_FAILED = "Something went wrong here. The log has it under the id below."
_INTERACTION_CHARS = 100
# What a socket may ask for before it is answered: every message that waits for its turn, and more.
_AT_ONCE = 100
# Chainlit's events that Parley has no use for; unhandled, they are ignored.
_UNUSED = (
    "audio_start",
    "audio_chunk",
    "audio_end",
    "chat_settings_change",
    "chat_settings_edit",
    "window_message",
)


@dataclass(frozen=True, slots=True)
class Page:
    """What the page's handlers work with; `sharing` is None where it is switched off."""

    engine: Engine
    callers: Callers
    data_layer: BaseDataLayer
    attachments: Attachments
    receipts: Receipts
    sharing: Sharing | None
    api_prefix: str


def take_over_socket(page: Page) -> None:
    """Register our handlers in place of Chainlit's, for the whole process."""
    handlers = _Handlers(page, sio.handlers["/"]["disconnect"])
    sio.on("connect", handlers.connect)
    sio.on("disconnect", handlers.disconnect)
    sio.on("clear_session", handlers.clear_session)
    sio.on("connection_successful", handlers.connection_successful)
    sio.on("client_message", handlers.client_message)
    sio.on("edit_message", handlers.edit_message)
    sio.on("stop", handlers.stop)
    sio.on("fetch_favorites", handlers.fetch_favorites)
    sio.on("message_favorite", handlers.message_favorite)
    for event in _UNUSED:
        sio.handlers["/"].pop(event, None)
    # Polling needs sticky routing to connect at all, and delays a shutdown by 24 s.
    sio.eio.transports = ["websocket"]


class _Handlers:
    def __init__(self, page: Page, clean_up: Callable[[str], Awaitable[None]]) -> None:
        self._page = page
        self._clean_up = clean_up
        # Sockets that are being shown their thread: once at a time is enough.
        self._resuming: set[str] = set()
        # Sessions that asked for a thread which is not theirs, until they were told.
        self._lost_threads: WeakSet[WebsocketSession] = WeakSet()
        # One reader for a socket and a turn: a second one would show everything twice.
        self._read_now: set[tuple[str, str]] = set()
        # What each socket asked for that is not done yet.
        self._asked: Counter[str] = Counter()
        self._favorites = Favorites(page.data_layer)

    async def connect(self, sid: str, _: object = None, auth: object = None, *__: object) -> bool:
        """Accept a browser whose ids are ids, as the user that its cookie says it is."""
        if WebsocketSession.get(sid):
            # python-socketio also runs this for an event that a client names "connect".
            return False
        try:
            return await self._connect(sid, sio.get_environ(sid), auth)
        except ParleyError as error:
            logger.warning("Socket refused", code=error.code, reason=error.message)
            raise ConnectionRefusedError(error.message) from None

    async def disconnect(self, sid: str, *_: object) -> None:
        """Let Chainlit clean up after a socket that is gone, and not after one that says so."""
        if not sio.manager.is_connected(sid, "/"):
            await self._clean_up(sid)

    async def clear_session(self, sid: str, *_: object) -> None:
        """Forget the session when its socket is gone: its page begins a new chat."""
        WebsocketSession.require(sid).to_clear = True

    async def connection_successful(self, sid: str, *_: object) -> None:
        """Show what the thread holds, and go on with the turn that runs in it."""
        session = WebsocketSession.require(sid)
        if sid not in self._resuming:
            self._resuming.add(sid)
            try:
                await self._do(session, self._resume(session))
            finally:
                self._resuming.discard(sid)

    async def client_message(self, sid: str, payload: object = None, *_: object) -> None:
        """Make a turn of a message, and show it."""
        session = WebsocketSession.require(sid)
        await self._do(session, self._answer(session, payload))

    async def edit_message(self, sid: str, *_: object) -> None:
        """Refuse: edits are off until they are built as branches."""
        session = WebsocketSession.require(sid)
        await self._do(session, _refuse("Messages cannot be edited yet."))

    async def stop(self, sid: str, *_: object) -> None:
        """Stop the turn that runs in the session's thread."""
        session = WebsocketSession.require(sid)
        await self._do(session, self._stop(session))

    async def fetch_favorites(self, sid: str, *_: object) -> None:
        """Show the user's favourites."""
        session = WebsocketSession.require(sid)
        await self._do(session, self._favorites.show(session))

    async def message_favorite(self, sid: str, payload: object = None, *_: object) -> None:
        """Mark a message as a favourite, or take the mark away."""
        session = WebsocketSession.require(sid)
        await self._do(session, self._favorites.mark(session, payload))

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> bool:
        principal = self._page.callers.known(HTTPConnection(environ["asgi.scope"]))
        if principal is None:
            raise Unauthenticated("Open the page first.")
        owner = principal.owner
        session_id, wanted_id = _session_ids(auth)
        with _as_owner(owner):
            user = await self._page.data_layer.get_user(owner.identifier)
        has_thread = wanted_id and await self._page.engine.owns_thread(owner.id, wanted_id)

        async def emit(event: str, data: object) -> None:
            await room_in(sid)
            await sio.emit(event, data, to=sid)

        def emit_call(event: Literal["ask", "call_fn"], data: Any, timeout: int | None) -> Any:
            return sio.call(event, data, timeout=timeout, to=sid)

        # A session outlives its socket: of the request's headers it keeps what Chainlit reads.
        kept = {"HTTP_ACCEPT_LANGUAGE": environ.get("HTTP_ACCEPT_LANGUAGE", "en-US")}
        if restore_existing_session(sid, session_id, emit, emit_call, kept, user=user):
            return True
        session = WebsocketSession(
            id=session_id,
            socket_id=sid,
            emit=emit,  # type: ignore[arg-type]  # Chainlit awaits it, and its type says not
            emit_call=emit_call,
            client_type="webapp",
            user_env={},
            user=user,
            thread_id=wanted_id if has_thread else None,
            environ=kept,
        )
        if wanted_id and not has_thread:
            self._lost_threads.add(session)  # unknown or foreign: the two look the same
        return True

    async def _do(self, session: WebsocketSession, asked: Coroutine[Any, Any, None]) -> None:
        """Do what a client asked for, unless it asks for too much at once."""
        socket_id = session.socket_id
        if self._asked[socket_id] >= _AT_ONCE:
            logger.warning("Socket closed that asks for too much at once")
            asked.close()
            await sio.disconnect(socket_id)
            return
        self._asked[socket_id] += 1
        try:
            await self._answered(session, asked)
        finally:
            self._asked[socket_id] -= 1
            if not self._asked[socket_id]:
                del self._asked[socket_id]

    async def _answered(self, session: WebsocketSession, asked: Awaitable[None]) -> None:
        """Where it fails the client is told, and never met with silence."""
        correlation_id.set(uuid4().hex)
        init_ws_context(session)
        current_owner.set(_owner(session))
        try:
            await asked
        except SocketGone:
            logger.info("Socket left")
        except ParleyError as error:
            logger.warning("Refused", code=error.code)
            await show_error(session, str(uuid4()), session.thread_id, error.message)
        except Exception:  # the process's edge: the user is told, the log has the story
            logger.exception("Request of the page failed")
            await show_error(session, str(uuid4()), session.thread_id, _FAILED)

    async def _resume(self, session: WebsocketSession) -> None:
        emitter = ChainlitEmitter(session)
        await emitter.task_end()  # type: ignore[no-untyped-call]  # Chainlit has no type here
        if session in self._lost_threads:
            self._lost_threads.discard(session)
            await emitter.send_resume_thread_error("Thread not found.")
            return
        # Also after a lost connection: what was said meanwhile is in the rows.
        known = session.has_first_interaction or session.thread_id_to_resume
        thread = await self._page.data_layer.get_thread(session.thread_id) if known else None
        if thread is None:
            return
        # Said again after a lost connection, which may have lost that too: without it the page
        # offers neither Stop nor thumbs.
        begun_here = thread["name"] if session.has_first_interaction else None
        session.has_first_interaction = True
        await _first_interaction(session, begun_here or "resume")
        await show_steps(thread["steps"])
        thread["steps"] = with_runs(thread["steps"])
        # A whole thread is large: a client that asks again and again gets it when it took the last.
        await socket_ready(session, session.socket_id, most_waiting=1)
        # The buttons first: with each, the page draws anew all the messages that it has by then.
        await offer_receipts(session, [s["id"] for s in thread["steps"] if is_answer(s)])
        await emitter.resume_thread(thread)
        running = await self._page.engine.running(_owner(session).id, session.thread_id)
        if running:
            await self._read(session, running)

    async def _answer(self, session: WebsocketSession, payload: object) -> None:
        message_id, text = _message(payload)
        files = file_ids(payload, text)
        request = TurnRequest(
            owner=_owner(session),
            thread_id=session.thread_id,
            text=text,
            key=message_id,
            user_step_id=message_id,
        )
        begun = await self._page.engine.submit(request)
        if not session.has_first_interaction:
            session.has_first_interaction = True
            await _first_interaction(session, text[:_INTERACTION_CHARS])
        if files and begun.created:
            await attach_files(session, self._page.attachments, request.owner, begun.turn, files)
        await self._read(session, begun.turn)

    async def _stop(self, session: WebsocketSession) -> None:
        await self._page.engine.stop_thread(_owner(session).id, session.thread_id)

    async def _read(self, session: WebsocketSession, turn: Turn) -> None:
        reader = (session.socket_id, turn.id)
        if reader in self._read_now:
            return
        self._read_now.add(reader)
        try:
            await read_turn(session, turn, self._page.engine.follow(turn))
        finally:
            self._read_now.discard(reader)


async def _refuse(message: str) -> None:
    raise InvalidRequest(message)


async def _first_interaction(session: WebsocketSession, interaction: str) -> None:
    """Tell the page that the thread exists now: it puts it into the sidebar and the address."""
    first = {"interaction": interaction, "thread_id": session.thread_id}
    await ChainlitEmitter(session).emit("first_interaction", first)


def _session_ids(auth: object) -> tuple[str, str | None]:
    """Take the ids of session and thread: Chainlit makes a path of the first."""
    ids = auth if isinstance(auth, Mapping) else {}
    session_id, thread_id = _uuid(ids.get("sessionId")), _uuid(ids.get("threadId"))
    if session_id is None or (thread_id is None and ids.get("threadId")):
        raise InvalidRequest("sessionId and threadId must be UUIDs.")
    return session_id, thread_id


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
