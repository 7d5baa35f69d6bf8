"""Reader: one turn, followed into one Chainlit session as Socket.IO frames.

The first frame of a reader replaces the answer's bubble, so that it does not matter what the
browser has of it; later ones append. At most one frame in 50 ms: a frame for each token saturates
a process at about 5,000 tokens/s. python-socketio never blocks and its queue has no bound, so the
queue is looked at before each frame.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from chainlit.emitter import ChainlitEmitter
from chainlit.server import sio
from chainlit.session import WebsocketSession
from chainlit.step import StepDict

from parley.chat.deltas import FinishReason
from parley.chat.engine import Engine
from parley.chat.events import (
    Attempt,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    ToolEnd,
    ToolStart,
)
from parley.chat.tool_display import result_markdown, step_title
from parley.chat.turns import Turn, TurnState, error_step_id, thought_step_id, tool_step_id
from parley.observability.logs import current_request_id, get_logger
from parley.surfaces.page.buttons import (
    buttons_of,
    empty_note,
    offer_buttons,
    texts_for,
    withdraw_buttons,
)
from parley.surfaces.page.markdown import Escaper, shown
from parley.surfaces.page.runs import THOUGHT_METADATA, TOOL_METADATA, run_around, run_id_of
from parley.surfaces.sentences import error_text, title_text
from parley.surfaces.texts import Texts

logger = get_logger(__name__)

FRAME_S = 0.05
# Frames that may wait in a socket before its reader waits too, and for how long it does.
_QUEUE_LIMIT = 8
# Frames of any kind that may: buttons and errors come several at once.
_ROOM = 32
_FULL_SOCKET_S = 30.0


class SocketGone(Exception):
    """The socket that was read for is gone, or took nothing for too long."""


@dataclass(slots=True)
class Bubble:
    """The answer, or what was thought: `text` as the model wrote it, `sent` as the browser has it.

    That is None for nothing.
    """

    step_id: str
    text: str = ""
    sent: str | None = None
    escaper: Escaper = field(default_factory=Escaper)

    def take(self, text: str) -> str:
        """Take what there is of it by now, and give what the browser is to have."""
        if not text.startswith(self.text):
            self.escaper = Escaper()
        self.text, self.sent = text, self.escaper.escape(text)
        return self.sent


async def read_turn(
    session: WebsocketSession, engine: Engine, turn: Turn, *, offers_local: bool = False
) -> bool:
    """Show a turn in the session until it is done; False where the socket is gone before."""
    reader = _Reader(session, engine, turn, offers_local=offers_local)
    try:
        await reader.read()
    except SocketGone:
        # The turn goes on; whoever connects again gets a reader of their own.
        logger.info("Reader left", turn_id=turn.id)
        return False
    return True


async def show_error(  # noqa: PLR0913 - where it is shown, what it says, and what it is about
    session: WebsocketSession,
    step_id: str,
    thread_id: str,
    message: str,
    code: str,
    of: str = "",
    turn: Turn | None = None,
) -> None:
    """Show an error as a bubble of its own, with the ids that the log has it under.

    `of` names what it is about, where that is not the whole message that was sent; `turn` whose
    error it is, where it is one's.
    """
    texts = texts_for(session)
    told = f"{of}: {error_text(texts, message, code)}" if of else error_text(texts, message, code)
    request_id = turn.request_id if turn else current_request_id()
    ids = log_ids(texts, request_id, turn.id if turn else None)
    step = assistant_step(step_id, thread_id, f"{shown(told)}\n\n{ids}")
    step["isError"] = True
    await ChainlitEmitter(session).send_step(step)


def log_ids(texts: Texts, request_id: str | None, turn_id: str | None) -> str:
    """Name what the log has an error under; pure."""
    named = ((texts.request_id, request_id), (texts.turn_id, turn_id))
    return " · ".join(f"{name}: `{value}`" for name, value in named if value)


async def room_in(socket_id: str) -> None:
    """Wait until one more frame may be sent, whatever it is; who takes none loses the socket.

    To a socket that is gone anything may be sent: it goes nowhere.
    """
    give_up_at = monotonic() + _FULL_SOCKET_S
    while (_waiting_in(socket_id) or 0) > _ROOM:
        if monotonic() > give_up_at:
            await sio.disconnect(socket_id)
        await asyncio.sleep(FRAME_S)


async def socket_ready(
    session: WebsocketSession, socket_id: str, most_waiting: int = _QUEUE_LIMIT
) -> None:
    """Wait until the socket has taken what it was sent; raises `SocketGone`."""
    give_up_at = monotonic() + _FULL_SOCKET_S
    while _queued(session, socket_id) > most_waiting:
        if monotonic() > give_up_at:
            await sio.disconnect(socket_id)
            raise SocketGone
        await asyncio.sleep(FRAME_S)


def _queued(session: WebsocketSession, socket_id: str) -> int:
    """Frames that wait in the socket; raises `SocketGone` where there is none any more."""
    waiting = _waiting_in(socket_id)
    if waiting is None or session.socket_id != socket_id:
        raise SocketGone
    return waiting


def _waiting_in(socket_id: str) -> int | None:
    engine_id = sio.manager.eio_sid_from_sid(socket_id, "/")
    socket = sio.eio.sockets.get(engine_id)
    return socket.queue.qsize() if socket else None


_ENDS = {
    FinishReason.STOPPED: TurnState.STOPPED,
    FinishReason.ERROR: TurnState.FAILED,
    FinishReason.INTERRUPTED: TurnState.INTERRUPTED,
}


class _Reader:
    def __init__(
        self, session: WebsocketSession, engine: Engine, turn: Turn, *, offers_local: bool
    ) -> None:
        self._session = session
        self._engine = engine
        self._socket_id = session.socket_id
        self._emitter = ChainlitEmitter(session)
        self._turn = turn
        self._bubble = Bubble(turn.answer_step_id)
        self._thought = Bubble(thought_step_id(turn.answer_step_id))
        self._is_thinking = False
        self._offers_local = offers_local
        self._has_failed = False
        self._called: dict[str, StepDict] = {}
        self._end = TurnState.COMPLETED

    async def read(self) -> None:
        # By this the page names what it stops (public/page/).
        await self._emitter.emit("runs", {"turn_id": self._turn.id})
        await withdraw_buttons(self._session, lambda button: button.is_of_last)
        await self._emitter.task_start()  # type: ignore[no-untyped-call]  # Chainlit has no type here
        # A run without a text is what the page shows as one that is waited for.
        await self._emitter.send_step(run_around(self._answer(), ended=False))
        async with aclosing(self._engine.follow(self._turn)) as events:
            async for event in events:
                await self._take(event)
        await self._finish()
        await self._emitter.task_end()  # type: ignore[no-untyped-call]  # Chainlit has no type here

    async def _take(self, event: Event) -> None:
        match event:
            case TextEvent(text=text, offset=offset):
                await self._end_thought()
                await self._show(self._bubble, self._bubble.text[:offset] + text)
            case ReasoningEvent(text=text, offset=offset):
                await self._think(self._thought.text[:offset] + text)
            case Snapshot(text=text, reasoning=reasoning):
                await self._replace(text, reasoning)
            case Attempt(keep=False):
                await self._begin_again()
            case ToolStart() | ToolEnd():
                await self._end_thought()
                await self._show_tool(event)
            case ErrorEvent():
                await self._error(event)
            case Done(finish_reason=reason):
                self._end = _ENDS.get(reason, TurnState.COMPLETED)
            case _:
                pass

    async def _finish(self) -> None:
        """Send the whole text once more, which repairs what was lost on the way, and the buttons."""
        steps: list[StepDict] = []
        await self._end_thought()
        if not self._bubble.sent and (note := empty_note(texts_for(self._session), self._end)):
            await self._show(self._bubble, note)
        if self._bubble.sent is not None:
            await self._frame_ready()
            answer = self._answer()
            await self._emitter.update_step(answer)
            steps.append(answer)
        await self._emitter.update_step(run_around(self._answer(), ended=True))
        if self._has_failed:
            turn = self._turn
            error = assistant_step(error_step_id(turn.answer_step_id), turn.thread_id, "")
            error["isError"] = True
            steps.append(error)
        for step in steps:
            step["metadata"] = {"turn_state": self._end.value}
        buttons = buttons_of(steps, texts_for(self._session), offers_local=self._offers_local)
        await offer_buttons(self._session, buttons)

    async def _show_tool(self, event: ToolStart | ToolEnd) -> None:
        """Show a call of a tool above the answer; its end replaces its beginning."""
        await self._frame_ready()
        step = self._answer()
        step["id"] = tool_step_id(self._turn.answer_step_id, event.id)
        step["type"], step["name"], step["showInput"] = "tool", event.name, "json"
        step["metadata"] = TOOL_METADATA
        if isinstance(event, ToolStart):
            title = step_title(event.name, event.action)
            step["name"] = title_text(texts_for(self._session), title)
            step["input"], step["output"], step["end"] = event.arguments, "", None
            self._called[event.id] = step
            await self._send_above(step)
            return
        called = self._called.pop(event.id, step)
        called["output"] = shown(result_markdown(event.result, event.sources))
        called["isError"] = event.error is not None
        called["end"] = step["end"]
        await self._emitter.send_step(called)

    async def _send_above(self, step: StepDict) -> None:
        """Send a step that stands above the answer, which is sent anew where there is some of it."""
        answer = self._answer()
        is_begun = self._bubble.sent is not None
        if is_begun:
            await self._emitter.delete_step(answer)
        await self._emitter.send_step(step)
        if is_begun:
            await self._emitter.send_step(answer)

    async def _show(self, bubble: Bubble, text: str) -> None:
        """Append to the bubble what is new of `text`, or put all of it there."""
        await self._frame_ready()
        before, sent = bubble.sent, bubble.take(text)
        if before is None and bubble is self._thought:
            await self._send_above(self._thinking())
        elif before is None:
            await self._emitter.send_step(self._answer())
        elif sent.startswith(before):
            await self._emitter.send_token(bubble.step_id, sent[len(before) :])
        else:
            step = self._answer() if bubble is self._bubble else self._thinking()
            await self._emitter.update_step(step)
        # What arrives meanwhile comes merged, as one event; after the end there is nothing to await.
        if not self._engine.has_run(self._turn):
            await asyncio.sleep(FRAME_S)

    async def _think(self, text: str) -> None:
        self._is_thinking = True
        await self._show(self._thought, text)

    async def _replace(self, text: str, thought: str) -> None:
        if thought:
            await self._think(thought)
        if text:
            await self._end_thought()
        if text or self._bubble.sent is not None:
            await self._show(self._bubble, text)

    async def _end_thought(self) -> None:
        """Send all of it once more, as one that is over."""
        if self._is_thinking:
            self._is_thinking = False
            await self._frame_ready()
            await self._emitter.update_step(self._thinking())

    async def _begin_again(self) -> None:
        """Take back what there is of an attempt that came to nothing."""
        if self._thought.sent is not None:
            await self._emitter.delete_step(self._thinking())
            self._thought, self._is_thinking = Bubble(self._thought.step_id), False
        if self._bubble.sent is not None:
            await self._show(self._bubble, "")

    async def _error(self, event: ErrorEvent) -> None:
        turn = self._turn
        step_id = error_step_id(turn.answer_step_id)
        self._has_failed = True
        await self._frame_ready()
        told = (event.message, event.code)
        await show_error(self._session, step_id, turn.thread_id, *told, turn=turn)

    async def _frame_ready(self) -> None:
        await socket_ready(self._session, self._socket_id)

    def _answer(self) -> StepDict:
        turn = self._turn
        answer = assistant_step(turn.answer_step_id, turn.thread_id, self._bubble.sent or "")
        answer["parentId"] = run_id_of(answer["id"])
        return answer

    def _thinking(self) -> StepDict:
        step = self._answer()
        step["id"], step["type"] = self._thought.step_id, "tool"
        step["name"], step["metadata"] = texts_for(self._session).thinking, THOUGHT_METADATA
        step["output"] = self._thought.sent or ""
        if self._is_thinking:
            step["end"] = None
        return step


def assistant_step(step_id: str, thread_id: str, output: str) -> StepDict:
    """Make a step of the assistant's, as of now."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return StepDict(
        id=step_id,
        threadId=thread_id,
        parentId=None,
        name="assistant",
        type="assistant_message",
        input="",
        output=output,
        isError=False,
        streaming=False,
        createdAt=now,
        start=now,
        end=now,
        metadata={},
        showInput=False,
    )
