"""Socket: Chainlit's Socket.IO events, taken over.

Everything a client sends is checked here first: Chainlit would use a session id as part of a path
and a thread id as it comes. What is ours is registered in place of Chainlit's own handlers;
tests/integration/test_chainlit_seams.py says whether the installed version still has them.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import unquote
from uuid import UUID, uuid4, uuid5

from asgi_correlation_id import correlation_id
from chainlit.context import init_ws_context
from chainlit.data.base import BaseDataLayer
from chainlit.server import sio
from chainlit.session import WebsocketSession
from chainlit.socket import restore_existing_session
from starlette.requests import HTTPConnection
from starlette.routing import Route

from parley.auth.callers import Callers
from parley.auth.operators import Operators
from parley.chat.attachments import Attachments
from parley.chat.engine import Engine
from parley.chat.errors import InternalError, InvalidRequest, ParleyError, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.receipts import Receipts
from parley.chat.turns import Owner, Turn
from parley.observability.logs import get_logger
from parley.surfaces.http.failures import INTERNAL
from parley.surfaces.models import Models
from parley.surfaces.page.asking import Asked, Asking, owner_of, uuid_of
from parley.surfaces.page.buttons import button_routes
from parley.surfaces.page.counting import Counting
from parley.surfaces.page.favorites import Favorites
from parley.surfaces.page.following import Following
from parley.surfaces.page.languages import liked_by
from parley.surfaces.page.offering import LocalModel, Offering
from parley.surfaces.page.presses import Presses, about_route
from parley.surfaces.page.reader import SocketGone, room_in
from parley.surfaces.page.receiving import say_ready, say_taken, tell
from parley.surfaces.page.session import PageSession
from parley.surfaces.page.sharing import Sharing
from parley.surfaces.page.showing import Shown, Threads
from parley.surfaces.starters import Profile, Starter
from parley.surfaces.texts import language_of

logger = get_logger(__name__)
T = TypeVar("T")
_Handler = Callable[..., Coroutine[Any, Any, None]]

# What a socket may ask for before it is answered: every message that waits for its turn, and more.
_AT_ONCE = 100
# Chainlit's events that Parley has no use for; unhandled, they are ignored.
_UNUSED = (
    "audio_start",
    "audio_chunk",
    "audio_end",
    "chat_settings_edit",
    "window_message",
)


@dataclass(frozen=True, slots=True)
class Page:
    """What the page's handlers work with; `sharing` is None where it is switched off."""

    engine: Engine
    callers: Callers
    data_layer: BaseDataLayer
    threads: Threads
    attachments: Attachments
    receipts: Receipts
    models: Models
    local: LocalModel
    sharing: Sharing | None
    operators: Operators
    starters: Sequence[Starter] = ()
    profiles: Sequence[Profile] = ()

    @property
    def asked(self) -> Asked:
        """What messages are made into turns by."""
        return Asked(
            self.engine,
            self.data_layer,
            self.attachments,
            self.receipts,
            self.models,
            self.profiles,
        )


def take_over_socket(page: Page) -> list[Route]:
    """Register our handlers in place of Chainlit's, for the whole process.

    Gives the routes of the buttons, which work on the same sessions.
    """
    offering = Offering(page.local)
    shown = Shown(page.threads, offering)
    following = Following(page.engine, shown, offering)
    asking = Asking(page.asked, shown, following)
    handlers = _Handlers(page, asking, following, offering, sio.handlers["/"]["disconnect"])
    presses = Presses(page.engine, page.receipts, shown, asking, offering)
    sio.on("connect", handlers.connect)
    sio.on("disconnect", handlers.disconnect)
    for event, handler in handlers.of_sessions.items():
        sio.on(event, _of_session(handlers, event, handler))
    for event in _UNUSED:
        sio.handlers["/"].pop(event, None)
    # Polling needs sticky routing to connect at all, and delays a shutdown by 24 s.
    sio.eio.transports = ["websocket"]
    return [*button_routes(presses.table), about_route(page.engine, page.receipts)]


class _Handlers:
    def __init__(
        self,
        page: Page,
        asking: Asking,
        following: Following,
        offering: Offering,
        clean_up: Callable[[str], Awaitable[None]],
    ) -> None:
        self._page = page
        self._asking = asking
        self._following = following
        self._offering = offering
        self._clean_up = clean_up
        # Sockets that are being shown their thread: once at a time is enough.
        self._resuming: set[str] = set()
        # What each socket asked for that is not done yet.
        self._asked: Counter[str] = Counter()
        self.counting = Counting(page.callers.limits)
        self._favorites = Favorites(page.data_layer)

    async def connect(self, sid: str, _: object = None, auth: object = None, *__: object) -> bool:
        """Accept a browser whose ids are ids, as the user that its cookie says it is."""
        if WebsocketSession.get(sid):
            # python-socketio also runs this for an event that a client names "connect".
            return False
        environ = sio.get_environ(sid)
        connection = HTTPConnection(environ["asgi.scope"])
        try:
            principal = self._page.callers.known(connection)
            if principal is None:
                raise Unauthenticated("Open the page first.")
            session = await self._connect(sid, environ, auth, principal.owner)
        except ParleyError as error:
            logger.warning("Socket refused", code=error.code, reason=error.message)
            raise ConnectionRefusedError(error.message) from None
        is_operator = self._page.operators.include(principal, connection)
        self._offering.set_operator(session, is_one=is_operator)
        return True

    async def disconnect(self, sid: str, *_: object) -> None:
        """Let Chainlit clean up after a socket that is gone, and not after one that says so."""
        if not sio.manager.is_connected(sid, "/"):
            self.counting.forget(sid)
            self._following.leave(sid)
            await self._clean_up(sid)

    @property
    def of_sessions(self) -> Mapping[str, _Handler]:
        """What is done for a session, by its event."""
        return {
            "clear_session": self.clear_session,
            "connection_successful": self.connection_successful,
            "client_message": self.client_message,
            "edit_message": self.edit_message,
            "stop": self.stop,
            "chat_settings_change": self.chat_settings_change,
            "fetch_favorites": self.fetch_favorites,
            "message_favorite": self.message_favorite,
        }

    async def clear_session(self, session: WebsocketSession, *_: object) -> None:
        """Forget the session when its socket is gone: its page begins a new chat."""
        session.to_clear = True

    async def connection_successful(self, session: WebsocketSession, *_: object) -> None:
        """Show what the thread holds, and go on with the turn that runs in it."""
        socket_id = session.socket_id
        if socket_id not in self._resuming:
            self._resuming.add(socket_id)
            try:
                running = await self._do(session, self._asking.resume(session))
            finally:
                self._resuming.discard(socket_id)
            await say_ready(session, self._page.engine.message_limit_bytes)
            await self._go_on(session, running)

    async def client_message(
        self, session: WebsocketSession, payload: object = None, *_: object
    ) -> None:
        """Make a turn of a message, and show it."""
        turn = await self._do(session, self._asking.begin(session, payload))
        await say_taken(session, "client_message", payload, is_refused=turn is None)
        await self._go_on(session, turn)

    async def edit_message(
        self, session: WebsocketSession, payload: object = None, *_: object
    ) -> None:
        """Ask a question anew, in other words."""
        await self._do(session, self._asking.edit(session, payload))
        await say_taken(session, "edit_message", payload)

    async def chat_settings_change(
        self, session: WebsocketSession, settings: object = None, sent: object = None, *_: object
    ) -> None:
        """Take what the settings panel says."""
        await self._do(session, self._asking.set(session, settings, sent))
        await say_taken(session, "chat_settings_change", settings, sent)

    async def stop(self, session: WebsocketSession, payload: object = None, *_: object) -> None:
        """Stop the turn that the page names, or what runs in the session's thread."""
        await self._do(session, self._asking.stop(session, payload))

    async def fetch_favorites(self, session: WebsocketSession, *_: object) -> None:
        """Show the user's favourites."""
        await self._do(session, self._favorites.show(session))

    async def message_favorite(
        self, session: WebsocketSession, payload: object = None, *_: object
    ) -> None:
        """Mark a message as a favourite, or take the mark away."""
        await self._do(session, self._favorites.mark(session, payload))

    async def _connect(
        self, sid: str, environ: dict[str, Any], auth: object, owner: Owner
    ) -> WebsocketSession:
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
            restored: WebsocketSession = WebsocketSession.require(sid)
            return restored
        own_id = thread_of_session(owner.id, session_id)
        if wanted_id is None and await self._page.engine.owns_thread(owner.id, own_id):
            # It was connected to another server, or to this one before a restart.
            wanted_id, has_thread = own_id, True
        session = PageSession(
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
        # Of all that a browser likes the first is not always one that we have.
        session.language = language_of(liked_by(HTTPConnection(environ["asgi.scope"])))
        said = auth if isinstance(auth, Mapping) else {}
        if isinstance(profile := said.get("chatProfile"), str):
            self._asking.begins_with(session, unquote(profile))
        if wanted_id is None:
            session.thread_id = own_id
            self._asking.goes_on_with(session, said.get("chosen"))
        if wanted_id and not has_thread:
            self._asking.has_lost_thread(session)
        return session

    async def _go_on(self, session: WebsocketSession, turn: Turn | None) -> None:
        """Show a turn to its end, and meanwhile, and from then on, what is begun elsewhere."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._do(session, self._following.go_on(session, turn)))
            tasks.create_task(self._do(session, self._asking.listen(session)))

    async def _do(self, session: WebsocketSession, asked: Coroutine[Any, Any, T]) -> T | None:
        """Do what a client asked for, unless it asks for too much at once; None where it fails."""
        socket_id = session.socket_id
        if self._asked[socket_id] >= _AT_ONCE:
            logger.warning("Socket closed that asks for too much at once")
            asked.close()
            await sio.disconnect(socket_id)
            return None
        self._asked[socket_id] += 1
        try:
            return await self._answered(session, asked)
        finally:
            self._asked[socket_id] -= 1
            if not self._asked[socket_id]:
                del self._asked[socket_id]

    async def _answered(self, session: WebsocketSession, asked: Awaitable[T]) -> T | None:
        """Where it fails the client is told, and never met with silence."""
        init_ws_context(session)
        current_owner.set(owner_of(session))
        try:
            return await asked
        except SocketGone:
            logger.info("Socket left")
        except ParleyError as error:
            logger.warning("Refused", code=error.code)
            await tell(session, error)
        except Exception:  # the process's edge: the user is told, the log has the story
            logger.exception("Request of the page failed")
            await tell(session, InternalError(INTERNAL))
        return None


def _session_ids(auth: object) -> tuple[str, str | None]:
    """Take the ids of session and thread: Chainlit makes a path of the first."""
    ids = auth if isinstance(auth, Mapping) else {}
    session_id, wanted = uuid_of(ids.get("sessionId")), ids.get("threadId")
    if session_id is None:
        raise InvalidRequest("sessionId must be a UUID.")
    # The rest of any address ends here: what is no UUID is as good as one that nobody has.
    return session_id, (uuid_of(wanted) or str(uuid4())) if wanted else None


def thread_of_session(owner_id: str, session_id: str) -> str:
    """Name the thread that a session begins: every server that it connects to finds it by that."""
    return str(uuid5(UUID(owner_id), session_id))


def _of_session(handlers: _Handlers, event: str, handler: _Handler) -> _Handler:
    """Handle what the sockets of sessions say; one that was left or replaced is told nothing."""

    async def handle(sid: str, *said: object) -> None:
        correlation_id.set(uuid4().hex)
        if not (session := WebsocketSession.get(sid)):
            return
        if await handlers.counting.may_ask(session):
            await handler(session, *said)
        else:
            await say_taken(session, event, *said, is_refused=True)

    return handle


@contextmanager
def _as_owner(owner: Owner) -> Iterator[None]:
    token = current_owner.set(owner)
    try:
        yield
    finally:
        current_owner.reset(token)
