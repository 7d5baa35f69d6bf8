"""Reader: one turn, followed into one Chainlit session as Socket.IO frames.

The first frame of a reader replaces the answer's bubble, so that it does not matter what the
browser has of it; later ones append. At most one frame in 50 ms: a frame for each token saturates
a process at about 5,000 tokens/s. python-socketio never blocks and its queue has no bound, so the
queue is looked at before each frame.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from asgi_correlation_id import correlation_id
from chainlit.emitter import ChainlitEmitter
from chainlit.server import sio
from chainlit.session import WebsocketSession
from chainlit.step import StepDict

from parley.chat.events import Attempt, ErrorEvent, Event, Snapshot, TextEvent
from parley.chat.turns import Turn, error_step_id
from parley.observability.logs import get_logger
from parley.surfaces.page.markdown import Escaper, shown
from parley.surfaces.page.receipt_button import offer_receipts
from parley.surfaces.page.runs import run_around, run_id_of

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
    """The answer: `text` as the model wrote it, `sent` as the browser has it, None for nothing."""

    turn: Turn
    text: str = ""
    sent: str | None = None
    escaper: Escaper = field(default_factory=Escaper)


async def read_turn(session: WebsocketSession, turn: Turn, events: AsyncIterator[Event]) -> None:
    """Show a turn in the session until it is done or the socket is gone."""
    reader = _Reader(session, turn)
    try:
        await reader.read(events)
    except SocketGone:
        # The turn goes on; whoever connects again gets a reader of their own.
        logger.info("Reader left", turn_id=turn.id)


async def show_error(session: WebsocketSession, step_id: str, thread_id: str, text: str) -> None:
    """Show an error as a bubble of its own, with the id that the log has it under."""
    step = _step(
        step_id, thread_id, f"{shown(text)}\n\nRequest id: `{correlation_id.get() or '-'}`"
    )
    step["isError"] = True
    await ChainlitEmitter(session).send_step(step)


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


class _Reader:
    def __init__(self, session: WebsocketSession, turn: Turn) -> None:
        self._session = session
        self._socket_id = session.socket_id
        self._emitter = ChainlitEmitter(session)
        self._bubble = Bubble(turn)

    async def read(self, events: AsyncIterator[Event]) -> None:
        await self._emitter.task_start()  # type: ignore[no-untyped-call]  # Chainlit has no type here
        async for event in events:
            match event:
                case TextEvent(text=text, offset=offset):
                    await self._show(self._bubble.text[:offset] + text)
                case Snapshot(text=text):
                    await self._show(text)
                case Attempt(keep=False) if self._bubble.sent is not None:
                    await self._show("")
                case ErrorEvent(message=message):
                    await self._error(message)
                case _:
                    pass
        if self._bubble.sent is not None:
            # The whole text once more: it repairs whatever was lost on the way.
            await self._frame_ready()
            answer = self._answer()
            await self._emitter.update_step(answer)
            await self._emitter.update_step(run_around(answer, ended=True))
            await offer_receipts(self._session, [answer["id"]])
        await self._emitter.task_end()  # type: ignore[no-untyped-call]  # Chainlit has no type here

    async def _show(self, text: str) -> None:
        """Append to the bubble what is new of `text`, or put all of it there."""
        await self._frame_ready()
        bubble = self._bubble
        if not text.startswith(bubble.text):
            bubble.escaper = Escaper()
        bubble.text, before = text, bubble.sent
        bubble.sent = bubble.escaper.escape(text)
        if before is None:
            await self._emitter.send_step(run_around(self._answer(), ended=False))
            await self._emitter.send_step(self._answer())
        elif bubble.sent.startswith(before):
            new = bubble.sent[len(before) :]
            await self._emitter.send_token(bubble.turn.answer_step_id, new)
        else:
            await self._emitter.update_step(self._answer())
        # What arrives meanwhile comes merged, as one event.
        await asyncio.sleep(FRAME_S)

    async def _error(self, message: str) -> None:
        turn = self._bubble.turn
        await self._frame_ready()
        await show_error(self._session, error_step_id(turn.answer_step_id), turn.thread_id, message)

    async def _frame_ready(self) -> None:
        await socket_ready(self._session, self._socket_id)

    def _answer(self) -> StepDict:
        turn = self._bubble.turn
        answer = _step(turn.answer_step_id, turn.thread_id, self._bubble.sent or "")
        answer["parentId"] = run_id_of(answer["id"])
        return answer


def _step(step_id: str, thread_id: str, output: str) -> StepDict:
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
