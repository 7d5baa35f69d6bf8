"""Appending: a turn for wires that cannot take text back.

There an answer that begins again, once some of it was sent, ends the stream with the error
`restarted`. The turn goes on and is in the history; one that is not kept ends with its reader.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from parley.chat.deltas import FinishReason
from parley.chat.errors import Restarted
from parley.chat.events import Attempt, Done, ErrorEvent, Event, ReasoningEvent, Snapshot, TextEvent

_KEPT = "The answer began again. Its final form is in the history of this conversation."
_NOT_KEPT = "The answer began again, and this wire cannot take text back. Send the message again."


class Appended:
    """What of a turn only appends; a snapshot becomes the text that is new in it."""

    def __init__(self, *, keep: bool = True) -> None:
        """Begin with a turn that is kept, or not."""
        self.is_over = False
        self._keep = keep
        self._shown = self._thought = 0

    def of(self, event: Event) -> Sequence[Event]:
        """Give what is to be sent for an event; nothing more is where it is over then."""
        match event:
            case TextEvent(text=text, offset=offset) if offset >= self._shown:
                self._shown = offset + len(text)
            case ReasoningEvent(text=text, offset=offset):
                self._thought = offset + len(text)
            case Snapshot() if len(event.text) >= self._shown:
                pieces = _new_in(event, self._shown, self._thought)
                self._shown, self._thought = len(event.text), len(event.reasoning)
                return pieces
            case Attempt(keep=False) if not self._shown:
                self._thought = 0
            case TextEvent() | Snapshot() | Attempt(keep=False):
                return self._restarted(event)
            case _:
                pass
        return (event,)

    def _restarted(self, event: Event) -> Sequence[Event]:
        self.is_over = True
        error = Restarted(_KEPT if self._keep else _NOT_KEPT)
        return (
            ErrorEvent(event.turn_id, event.seq, error.code, error.message),
            Done(event.turn_id, event.seq + 1, FinishReason.ERROR, None, 0),
        )


async def appending(events: AsyncGenerator[Event], *, keep: bool = True) -> AsyncGenerator[Event]:
    """Pass on what only appends; see `Appended`."""
    appended = Appended(keep=keep)
    async with aclosing(events):
        async for event in events:
            for piece in appended.of(event):
                yield piece
            if appended.is_over:
                return


def _new_in(event: Snapshot, shown: int, thought: int) -> list[Event]:
    pieces: list[Event] = []
    if reasoning := event.reasoning[thought:]:
        pieces.append(ReasoningEvent(event.turn_id, event.seq, reasoning, thought))
    if text := event.text[shown:]:
        pieces.append(TextEvent(event.turn_id, event.seq, text, shown))
    return pieces
