"""Appending: a turn for wires that cannot take text back.

There an answer that begins again, once some of it was sent, ends the stream with the error
`restarted`. The turn goes on and is in the history; one that is not kept ends with its reader.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from parley.chat.deltas import FinishReason
from parley.chat.errors import Restarted
from parley.chat.events import Attempt, Done, ErrorEvent, Event, ReasoningEvent, Snapshot, TextEvent

_KEPT = "The answer began again. Its final form is in the history of this conversation."
_NOT_KEPT = "The answer began again, and this wire cannot take text back. Send the message again."


async def appending(events: AsyncGenerator[Event], *, keep: bool = True) -> AsyncGenerator[Event]:
    """Pass on what only appends; a snapshot becomes the text that is new in it."""
    shown = thought = 0
    async with aclosing(events):
        async for event in events:
            match event:
                case TextEvent(text=text, offset=offset) if offset >= shown:
                    shown = offset + len(text)
                case ReasoningEvent(text=text, offset=offset):
                    thought = offset + len(text)
                case Snapshot() if len(event.text) >= shown:
                    for piece in _new_in(event, shown, thought):
                        yield piece
                    shown, thought = len(event.text), len(event.reasoning)
                    continue
                case Attempt(keep=False) if not shown:
                    thought = 0
                case TextEvent() | Snapshot() | Attempt(keep=False):
                    restarted = Restarted(_KEPT if keep else _NOT_KEPT)
                    yield ErrorEvent(event.turn_id, event.seq, restarted.code, restarted.message)
                    yield Done(event.turn_id, event.seq + 1, FinishReason.ERROR, None, 0)
                    return
                case _:
                    pass
            yield event


def _new_in(event: Snapshot, shown: int, thought: int) -> list[Event]:
    pieces: list[Event] = []
    if reasoning := event.reasoning[thought:]:
        pieces.append(ReasoningEvent(event.turn_id, event.seq, reasoning, thought))
    if text := event.text[shown:]:
        pieces.append(TextEvent(event.turn_id, event.seq, text, shown))
    return pieces
