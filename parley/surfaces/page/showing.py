"""Showing: a thread put into a page, at its last messages or further back, with its buttons."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from chainlit.types import ThreadDict

from parley.surfaces.page.buttons import (
    EARLIER,
    NEW,
    Button,
    buttons_of,
    empty_note,
    offer_buttons,
    texts_for,
    withdraw_buttons,
)
from parley.surfaces.page.markdown import show_steps
from parley.surfaces.page.offering import Offering
from parley.surfaces.page.reader import assistant_step, log_ids, socket_ready
from parley.surfaces.page.runs import THOUGHT_METADATA, TOOL_METADATA, with_runs
from parley.surfaces.sentences import error_text, title_text
from parley.surfaces.texts import Texts

# A thread opens at its last messages: more make the browser stall for seconds.
SHOWN_MESSAGES = 100
_MORE_MESSAGES = 200
_EARLIER_BIT = 1 << 20
_GONE_BIT = 1 << 21


# The last steps: their ids, lengths, and the states of their turns.
_End = list[tuple[str, int, str | None]]


class Threads(Protocol):
    """The part of the data layer that opens threads further back than Chainlit asks for."""

    async def open_thread(self, thread_id: str, shown_messages: int | None) -> ThreadDict | None:
        """Read a thread of the caller's at its last messages; None for one that is not theirs."""
        ...


class Shown:
    """How far back each session looks, and what it was shown."""

    def __init__(self, threads: Threads, offering: Offering) -> None:
        """Read threads here."""
        self._offering = offering
        self._threads = threads
        self._windows: WeakKeyDictionary[WebsocketSession, int] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[WebsocketSession, _End] = WeakKeyDictionary()

    async def read(self, session: WebsocketSession) -> ThreadDict | None:
        """Read the session's thread, as far back as it looks."""
        return await self._threads.open_thread(session.thread_id, self._window(session))

    async def metadata(self, session: WebsocketSession) -> Mapping[str, Any] | None:
        """Read what is kept with the session's thread beside what was said."""
        thread = await self._threads.open_thread(session.thread_id, 0)
        return (thread["metadata"] or {}) if thread else None

    async def show(self, session: WebsocketSession, thread: ThreadDict) -> None:
        """Put the thread in place of what the page has; raises `SocketGone`."""
        texts = texts_for(session)
        steps: list[StepDict] = thread["steps"]
        self._ends[session] = _end_of(thread)
        buttons = buttons_of(steps, texts, offers_local=self._offering.is_for(session))
        _say_in(texts, steps)
        await show_steps(steps)
        thread["steps"] = with_runs(steps)
        if _messages(steps) >= self._window(session):
            note, button = _earlier(session.thread_id, steps, texts)
            # In no run: nobody copies or rates it.
            thread["steps"].insert(0, note)
            buttons.append(button)
        # A whole thread is large: a client that asks again and again gets it when it took the last.
        await socket_ready(session, session.socket_id, most_waiting=1)
        # The buttons first: with each, the page draws anew all the messages that it has by then.
        still = set(buttons)
        await withdraw_buttons(session, lambda button: button not in still)
        await offer_buttons(session, buttons)
        await ChainlitEmitter(session).resume_thread(thread)

    async def grown(self, session: WebsocketSession) -> ThreadDict | None:
        """Read the thread again; None where it ends as it was shown, or was not shown at all."""
        if session not in self._ends:
            return None
        thread = await self.read(session)
        return thread if thread and _end_of(thread) != self._ends[session] else None

    def look_further_back(self, session: WebsocketSession) -> None:
        """Show more of the thread from now on."""
        self._windows[session] = self._window(session) + _MORE_MESSAGES

    def _window(self, session: WebsocketSession) -> int:
        return self._windows.get(session, SHOWN_MESSAGES)


async def list_anew(session: WebsocketSession, interaction: str) -> None:
    """Tell the page that its thread exists: it lists it in the sidebar, and has its address.

    Each time the `interaction` is another one than the page was told before, it asks for its list.
    """
    first: dict[str, Any] = {"interaction": interaction, "thread_id": session.thread_id}
    await ChainlitEmitter(session).emit("first_interaction", first)


async def show_gone(session: WebsocketSession) -> None:
    """Say under the thread that it was deleted meanwhile, and offer a new chat."""
    texts, thread_id = texts_for(session), session.thread_id
    step_id = str(UUID(int=UUID(thread_id).int ^ _GONE_BIT))
    step = assistant_step(step_id, thread_id, texts.gone)
    step["isError"] = True
    await withdraw_buttons(session)
    await ChainlitEmitter(session).send_step(step)
    await offer_buttons(session, [Button(NEW, step_id, step_id, texts.new_chat)])


def _end_of(thread: ThreadDict) -> _End:
    """Say how a thread ends that was read and is not shown yet."""
    steps = thread["steps"][-3:]
    return [(s["id"], len(s["output"]), (s["metadata"] or {}).get("turn_state")) for s in steps]


def _messages(steps: list[StepDict]) -> int:
    return sum(step["type"] in {"user_message", "assistant_message"} for step in steps)


def _say_in(texts: Texts, steps: list[StepDict]) -> None:
    """Say in the page's language what is not a model's or a user's own."""
    for step in steps:
        if (step["metadata"] or {}).get("thought"):
            step["name"], step["metadata"] = texts.thinking, THOUGHT_METADATA
        elif step["type"] == "tool":
            step["name"], step["metadata"] = title_text(texts, step["name"]), TOOL_METADATA
        elif step["type"] != "assistant_message":
            continue
        elif step["isError"]:
            of_turn = step["metadata"] or {}
            ids = log_ids(texts, of_turn.get("request_id"), of_turn.get("turn_id"))
            step["output"] = f"{error_text(texts, step['output'])}\n\n{ids}"
        elif not step["output"]:
            state = (step["metadata"] or {}).get("turn_state")
            step["output"] = empty_note(texts, state) if state else ""


def _earlier(thread_id: str, steps: list[StepDict], texts: Texts) -> tuple[StepDict, Button]:
    step_id = str(UUID(int=UUID(thread_id).int ^ _EARLIER_BIT))
    note = assistant_step(step_id, thread_id, texts.earlier_note)
    note["createdAt"] = steps[0]["createdAt"]
    return note, Button(EARLIER, step_id, step_id, texts.earlier)
