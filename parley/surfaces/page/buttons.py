"""Buttons: what the page offers under answers, and who presses them.

Chainlit has buttons under messages, its actions, and forgets them with the session: they are
offered again whenever a thread is shown. What one does, presses.py has.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.errors import NotFound, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.turns import Owner, TurnState
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.page.runs import is_answer
from parley.surfaces.texts import Texts, texts_of

ABOUT, AGAIN, EARLIER, OFFER, FETCH, NEW = "about", "again", "earlier", "offer", "fetch", "new"
_BODY_LIMIT = 64 * 1024
# Each button of a step has an id of its own, made of the step's.
_BITS = {ABOUT: 4, AGAIN: 16, EARLIER: 32, OFFER: 64, FETCH: 128, NEW: 256}
_ICONS = {
    ABOUT: "info",
    AGAIN: "rotate-ccw",
    EARLIER: "history",
    OFFER: "cpu",
    FETCH: "download",
    NEW: "square-pen",
}


@dataclass(frozen=True, slots=True)
class Pressed:
    """A press: under which answer, and with what model picked; None where the page does not say."""

    answer_id: str
    model: str | None = None


Press = Callable[[WebsocketSession, Owner, Pressed], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Button:
    """One button: under which step, for which answer, and what stands on it."""

    name: str
    step_id: str
    answer_id: str
    label: str = ""
    tooltip: str = ""

    @property
    def is_of_last(self) -> bool:
        """Whether it is for the last answer of a thread, and for no earlier one."""
        return self.name == OFFER or (self.name == AGAIN and not self.label)

    @property
    def action(self) -> dict[str, Any]:
        """The button as the page takes it."""
        return {
            "id": str(UUID(int=UUID(self.step_id).int ^ _BITS[self.name])),
            "name": self.name,
            "payload": {"answer": self.answer_id},
            "label": self.label,
            "tooltip": self.tooltip,
            "icon": _ICONS[self.name],
            "forId": self.step_id,
        }


class _Action(msgspec.Struct):
    name: str
    payload: dict[str, Any]


class _Asked(msgspec.Struct):
    action: _Action
    sessionId: str  # noqa: N815 - the page's name
    model: str | None = None


def buttons_of(
    steps: Iterable[StepDict], texts: Texts, *, offers_local: bool = False
) -> list[Button]:
    """Say which buttons the answers of a thread have, in its order; pure.

    A completed answer can be run again where it is the last: a later one builds on it. With
    `offers_local` there is no model, and the last answer offers one.
    """
    steps = list(steps)
    last = max((n for n, step in enumerate(steps) if step["type"] != "run"), default=-1)
    buttons: list[Button] = []
    for place, step in enumerate(steps):
        state = (step["metadata"] or {}).get("turn_state")
        if step["type"] != "assistant_message" or state is None:
            continue
        is_end = step["isError"] or not _has_error(steps, place)
        answer_id = _answer_id(step)
        if is_answer(step) and TurnState(state).is_over:
            # One for all that there is to tell: each button makes the page draw its thread anew.
            buttons.append(Button(ABOUT, step["id"], answer_id, tooltip=texts.about))
        if is_end and (label := again_label(state, texts, is_last=place == last)) is not None:
            if offers_local and place == last:
                offer = Button(OFFER, step["id"], answer_id, texts.offer_button, texts.offer)
                buttons.append(offer)
            again = Button(AGAIN, step["id"], answer_id, label, texts.run_again)
            buttons.append(again)
    return buttons[::-1]  # the newest are in sight


def again_label(state: str, texts: Texts, *, is_last: bool) -> str | None:
    """Say how an answer ended and that it can be run again; None where it cannot."""
    ended = {
        TurnState.STOPPED: texts.stopped,
        TurnState.FAILED: texts.failed,
        TurnState.INTERRUPTED: texts.interrupted,
    }.get(TurnState(state))
    if ended:
        return f"{ended} · {texts.run_again}"
    return "" if is_last and state == TurnState.COMPLETED.value else None


def empty_note(texts: Texts, state: str) -> str:
    """Say in place of an answer without text why there is none; nothing where its error says it."""
    notes = {TurnState.STOPPED: texts.not_begun, TurnState.COMPLETED: texts.no_text}
    return notes.get(TurnState(state), "")


# The buttons that each session's page has, by id, and by which socket it was sent each.
_Sent = dict[str, tuple[Button, str]]
_sent: WeakKeyDictionary[WebsocketSession, _Sent] = WeakKeyDictionary()


async def offer_buttons(session: WebsocketSession, buttons: Iterable[Button]) -> None:
    """Put buttons under their steps; where one is already, it stays one.

    Those that this socket was sent are not sent again: with each, the page draws its thread anew.
    """
    emitter, sent = ChainlitEmitter(session), _sent.setdefault(session, {})
    for button in buttons:
        action, sending = button.action, (button, session.socket_id)
        if sent.get(action["id"]) != sending:
            sent[action["id"]] = sending
            await emitter.emit("remove_action", action)
            await emitter.emit("action", action)


async def withdraw_buttons(
    session: WebsocketSession, which: Callable[[Button], bool] = lambda _: True
) -> None:
    """Take away buttons that the session's page has, all or these: they have nothing to work on."""
    emitter, sent = ChainlitEmitter(session), _sent.get(session, {})
    for action_id in [each for each, (button, _) in sent.items() if which(button)]:
        del sent[action_id]
        await emitter.emit("remove_action", {"id": action_id})


async def open_panel(session: WebsocketSession, title: str, key: str, url: str) -> None:
    """Show a text beside the chat."""
    emitter = ChainlitEmitter(session)
    element = {"id": key, "type": "text", "name": title, "display": "side", "url": url}
    await emitter.emit("set_sidebar_title", title)
    await emitter.emit("set_sidebar_elements", {"elements": [element], "key": key})


def button_routes(presses: Mapping[str, Press]) -> list[Route]:
    """Make the route that buttons call, in place of Chainlit's own."""

    async def press(request: Request) -> Response:
        owner = current_owner.get()
        if owner is None:
            raise Unauthenticated("Nobody is known to be calling. Open the page first.")
        asked = await decode_body(request, _Asked, _BODY_LIMIT)
        session = WebsocketSession.get_by_id(asked.sessionId)
        user = session.user if session else None
        if session is None or user is None or user.identifier != owner.identifier:
            raise NotFound("There is no such session. Load the page again.")
        if asked.action.name not in presses:
            raise NotFound("There is no such button.")
        pressed = Pressed(_uuid(asked.action.payload.get("answer")), asked.model)
        await presses[asked.action.name](session, owner, pressed)
        return JSONResponse({"success": True, "response": None})

    return [Route("/project/action", press, methods=["POST"])]


def texts_for(session: WebsocketSession) -> Texts:
    """Give the texts in the language of the session's browser."""
    return texts_of(session.language)


def _has_error(steps: list[StepDict], place: int) -> bool:
    following = steps[place + 1 : place + 2]
    return any(step["isError"] for step in following)


def _answer_id(step: StepDict) -> str:
    """An error's bubble is named after its answer, and the other way round."""
    if not step["isError"]:
        return step["id"]
    return str(UUID(int=UUID(step["id"]).int ^ 1))


def _uuid(value: object) -> str:
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise NotFound("There is no such answer.") from None
