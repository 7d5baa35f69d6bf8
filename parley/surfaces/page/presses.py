"""Presses: what the buttons under answers do."""

from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from parley.chat.engine import Engine
from parley.chat.errors import Conflict, Forbidden, NotFound, ParleyError, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.receipts import Receipts
from parley.chat.turns import Owner, Turn
from parley.observability.logs import get_logger
from parley.surfaces.page.asking import Anew, Asking
from parley.surfaces.page.buttons import (
    ABOUT,
    AGAIN,
    EARLIER,
    FETCH,
    NEW,
    OFFER,
    Press,
    Pressed,
    open_panel,
    texts_for,
)
from parley.surfaces.page.details import details_markdown
from parley.surfaces.page.offering import Offering
from parley.surfaces.page.reader import show_error
from parley.surfaces.page.showing import Shown
from parley.surfaces.receipt_text import receipt_markdown
from parley.surfaces.texts import texts_of

logger = get_logger(__name__)

ABOUT_PATH = "/page/turns/{turn_id}"
# One's own words, also to a cache between us.
_PRIVATE = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


class Presses:
    """The buttons of answers; what is asked anew, every page of the thread reads (following.py)."""

    def __init__(
        self,
        engine: Engine,
        receipts: Receipts,
        shown: Shown,
        asking: Asking,
        offering: Offering,
    ) -> None:
        """Work on these."""
        self._asking = asking
        self._offering = offering
        self._engine = engine
        self._receipts = receipts
        self._shown = shown

    @property
    def table(self) -> Mapping[str, Press]:
        """What each button does, by its name."""
        presses = {
            ABOUT: self.about,
            AGAIN: self.again,
            EARLIER: self.earlier,
            OFFER: self._offering.describe,
            FETCH: self.fetch,
            NEW: self.new,
        }
        return {name: _told(press) for name, press in presses.items()}

    async def about(self, session: WebsocketSession, owner: Owner, pressed: Pressed) -> None:
        """Open what the answer was made by, what it cost and what the model saw."""
        turn_id = await self._receipts.turn_of_answer(owner.id, pressed.answer_id)
        url = f"{ABOUT_PATH.format(turn_id=turn_id)}?language={session.language}"
        await open_panel(session, texts_for(session).about, turn_id, url)

    async def again(self, session: WebsocketSession, owner: Owner, pressed: Pressed) -> None:
        """Ask the same again: in place of the last answer, or else at the end of the thread."""
        turn = await self._turn(session, owner, pressed.answer_id)
        is_last = await self._is_last(session, turn)
        anew = Anew(turn, turn.text, turn.id if is_last else None)
        await self._asking.ask_anew(session, anew, pressed.model)

    async def earlier(self, session: WebsocketSession, _: Owner, __: Pressed) -> None:
        """Show more of the thread."""
        self._shown.look_further_back(session)
        await self._asking.show(session)

    async def new(self, session: WebsocketSession, _: Owner, __: Pressed) -> None:
        """Begin a new chat: the page does it, as its own button does (public/page/)."""
        await ChainlitEmitter(session).emit("new_chat", {})

    async def fetch(self, session: WebsocketSession, _: Owner, pressed: Pressed) -> None:
        """Fetch the local model; the page chooses it once it answers."""
        if await self._offering.fetch(session, pressed.answer_id):
            await self._asking.offer_choices(session)

    async def _turn(self, session: WebsocketSession, owner: Owner, answer_id: str) -> Turn:
        turn_id = await self._receipts.turn_of_answer(owner.id, answer_id)
        turn = await self._engine.turn(owner.id, turn_id)
        if turn.thread_id != session.thread_id:
            raise NotFound("That answer is not in this conversation.")
        return turn

    async def _is_last(self, session: WebsocketSession, turn: Turn) -> bool:
        thread = await self._shown.read(session)
        asked = [s["id"] for s in (thread or {"steps": []})["steps"] if s["type"] == "user_message"]
        return asked[-1:] == [turn.user_step_id]


def _told(press: Press) -> Press:
    """Have what goes wrong told in the conversation, as the errors of answers are.

    The page shows the refusal of a request twice, and its status before it: that is left to what
    is another's, not allowed or over.
    """

    async def told(session: WebsocketSession, owner: Owner, pressed: Pressed) -> None:
        try:
            await press(session, owner, pressed)
        except (NotFound, Forbidden, Conflict):
            raise
        except ParleyError as error:
            logger.warning("Refused", code=error.code)
            await show_error(session, str(uuid4()), session.thread_id, error.message, error.code)

    return told


def about_route(engine: Engine, receipts: Receipts) -> Route:
    """Make the route that the panel reads."""

    async def about(request: Request) -> Response:
        owner = current_owner.get()
        if owner is None:
            raise Unauthenticated("Nobody is known to be calling. Open the page first.")
        turn = await engine.turn(owner.id, request.path_params["turn_id"])
        texts = texts_of(request.query_params.get("language", ""))
        said = details_markdown(turn, texts)
        with suppress(NotFound):  # no model was asked
            said += "\n" + receipt_markdown(await receipts.seen(owner.id, turn.id), texts)
        return PlainTextResponse(said, headers=_PRIVATE)

    return Route(ABOUT_PATH, about, methods=["GET"])
