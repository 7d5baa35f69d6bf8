"""Recorder: deltas of one turn become numbered events, and the answer so far."""

import asyncio
from time import monotonic

from parley.chat.deltas import FinishReason
from parley.chat.errors import TooLarge
from parley.chat.events import (
    Attempt,
    ContextPruned,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    ToolEnd,
    ToolStart,
    TurnStart,
    UsageEvent,
    first_seq,
)
from parley.chat.messages import storable_text
from parley.chat.ports import TurnLog
from parley.chat.tools import ToolUse
from parley.chat.turns import Context, Turn
from parley.chat.usage import Usage

# Between what was said before a tool was called, and after.
_GAP = "\n\n"


class Recorder:
    """Numbers the events of one turn and cuts its text to the log's window.

    The first text goes out at once; after that, text which arrives within `window_s` of the last
    event is one event. A window of 0 makes one event of each delta.
    """

    def __init__(self, turn: Turn, log: TurnLog, *, window_s: float, limit_chars: int) -> None:
        """Record `turn` into `log`; an answer longer than `limit_chars` raises `TooLarge`."""
        self._turn = turn
        self._log = log
        self._window_s = window_s
        self._limit_chars = limit_chars
        self.is_full = False
        # Set from outside: send no more but the end.
        self.is_muted = False
        self._next_seq = first_seq(turn.fence)
        self._began_at = monotonic()
        self._first_text_at: float | None = None
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._pending: list[str] = []
        self._pending_is_text = True
        self._offsets = {True: 0, False: 0}
        self._taken = 0
        self._restarts = 0
        self._kept = ("", "")
        # The most that readers had and was taken back.
        self._taken_back = ("", "")
        self._gap = False
        self._flushed_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def text(self) -> str:
        """The answer so far, as far as readers may have it."""
        return _joined(self._texts)

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        return _joined(self._thoughts)

    @property
    def length(self) -> int:
        """Characters of answer and thinking that readers may have."""
        return self._offsets[True] + self._offsets[False]

    @property
    def progress(self) -> tuple[int, int]:
        """How far the answer is: how often it began again, and its length since then."""
        return self._restarts, self.length

    @property
    def time_to_first_chunk_ms(self) -> int | None:
        """From the turn's start to its first text or thinking."""
        return _ms(self._began_at, self._first_text_at) if self._first_text_at else None

    @property
    def duration_ms(self) -> int:
        """From the turn's start till now."""
        return _ms(self._began_at, monotonic())

    @property
    def last_seq(self) -> int:
        """The last event that was sent."""
        return self._next_seq - 1

    def inherit(self, text: str, reasoning: str, *, is_whole: bool) -> None:
        """Go on with what another owner wrote; readers that may have other text are told."""
        self._texts, self._thoughts = [text], [reasoning]
        self._offsets = {True: len(text), False: len(reasoning)}
        self._taken = self.length
        if not is_whole:
            self.start()
            if self.length:
                self._emit(Snapshot(self._turn.id, self._seq(), text, reasoning))

    def start(self) -> None:
        """Say that the turn runs."""
        turn = self._turn
        self._emit(TurnStart(turn.id, self._seq(), turn.thread_id, turn.answer_step_id, turn.model))

    def pruned(self, context: Context) -> None:
        """Say what the window left out."""
        self._emit(
            ContextPruned(
                self._turn.id,
                self._seq(),
                context.dropped_messages,
                context.dropped_tokens,
                context.rule,
                context.more_dropped,
            )
        )

    def keep(self, until: int | None = None) -> None:
        """Keep what there is of the answer's text, whatever becomes of the next completion."""
        self.flush()
        self._kept = (self.text[:until], self.reasoning)
        self._gap = self._wants_gap()

    @property
    def kept_text(self) -> str:
        """The part of the answer that stays, whatever becomes of the completion."""
        return self._kept[0]

    @property
    def text_since_kept(self) -> str:
        """What there is of the text of the completion that is under way."""
        return self.text[len(self._kept[0]) :]

    @property
    def said_since_kept(self) -> str:
        """What there is of the completion that is under way, its thinking too."""
        return self.text_since_kept + self.reasoning[len(self._kept[1]) :]

    def attempt(
        self, number: int, provider: str, model: str, reason: str, *, goes_on: bool = False
    ) -> None:
        """Say that a provider is called; what readers have of another one's completion goes.

        With `goes_on` it stays: the provider was given it, and writes what comes after.
        """
        self.flush()
        keep = goes_on or self.length == sum(map(len, self._kept))
        if not keep:
            self._begin_again()
        self._emit(Attempt(self._turn.id, self._seq(), number, provider, model, reason, keep))
        if not keep:
            self._show_kept()

    def _begin_again(self) -> None:
        had = (self.text, self.reasoning)
        if len(had[0]) >= len(self._taken_back[0]):
            self._taken_back = had
        self._texts.clear()
        self._thoughts.clear()
        self._offsets = {True: 0, False: 0}
        self._taken = 0
        self._restarts += 1

    def give_back(self) -> None:
        """Give back what was taken back, where nothing has come in its place."""
        self.flush()
        text, reasoning = self._taken_back
        if (text or reasoning) and not self.said_since_kept:
            self._texts, self._thoughts = [text], [reasoning]
            self._offsets = {True: len(text), False: len(reasoning)}
            self._emit(Snapshot(self._turn.id, self._seq(), text, reasoning))

    def _show_kept(self) -> None:
        """Say again what was kept: readers took it back with the rest."""
        text, thoughts = self._kept
        self._gap = False
        if thoughts:
            self.add(thoughts, is_text=False)
        if text:
            self.add(text)
        self.flush()
        self._gap = self._wants_gap()

    def _wants_gap(self) -> bool:
        """Whether the next text would run into what was said before a tool was called."""
        said = self.kept_text
        return bool(said) and not said.endswith("\n") and not self.text_since_kept

    def tool_started(self, use: ToolUse, description: str) -> None:
        """Say that a tool is called."""
        self.flush()
        self._emit(
            ToolStart(
                self._turn.id,
                self._seq(),
                use.id,
                use.name,
                description,
                use.action,
                use.arguments,
            )
        )

    def tool_ended(self, use: ToolUse) -> None:
        """Say that a tool has ended."""
        self._emit(
            ToolEnd(
                self._turn.id,
                self._seq(),
                use.id,
                use.name,
                use.result or "",
                use.error,
                use.sources,
            )
        )

    def add(self, text: str, *, is_text: bool = True) -> None:
        """Take a piece of the answer, or of the thinking; called once for each token.

        What is over the limit is cut off; what is empty is no piece, however much there is of it.
        """
        if not text:
            return
        self._taken += len(text)
        if self._taken > self._limit_chars:
            self.is_full = True
            text = text[: self._limit_chars - self._taken]
            if not text:
                return
        if is_text is not self._pending_is_text:
            self.flush()
            self._pending_is_text = is_text
        if self._gap and is_text:
            self._gap = False
            self._pending.append(_GAP)
        self._pending.append(text)
        if self._timer is None:
            self._flush_in_time()

    def flush(self) -> None:
        """Send what is pending as one event."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return
        text = storable_text("".join(self._pending))
        self._pending.clear()
        is_text = self._pending_is_text
        offset = self._offsets[is_text]
        self._offsets[is_text] = offset + len(text)
        (self._texts if is_text else self._thoughts).append(text)
        piece = TextEvent if is_text else ReasoningEvent
        self._flushed_at = self._loop.time()
        self._emit(piece(self._turn.id, self._seq(), text, offset))

    def check_length(self) -> None:
        """Raise `TooLarge` once the answer is over its limit."""
        if self.is_full:
            raise TooLarge(
                f"The answer was ended at {self._limit_chars} characters (LIMIT_ANSWER_CHARS)."
                " What is there of it is kept."
            )

    def end(
        self,
        finish_reason: FinishReason,
        usage: Usage | None,
        error: tuple[str, str, float | None] | None,
    ) -> None:
        """Send the last events: usage, error, and the one `Done`."""
        self.flush()
        events: list[Event] = []
        if usage:
            events.append(UsageEvent(self._turn.id, self._seq(), usage))
        if error:
            events.append(ErrorEvent(self._turn.id, self._seq(), *error))
        events.append(
            Done(
                self._turn.id,
                self._seq(),
                finish_reason,
                self.time_to_first_chunk_ms,
                self.duration_ms,
            )
        )
        self._log.append(self._turn.id, events)

    def _flush_in_time(self) -> None:
        now = self._loop.time()
        if self._first_text_at is None:
            self._first_text_at = monotonic()
        wait_s = self._flushed_at + self._window_s - now
        if wait_s <= 0:
            self.flush()
        else:
            self._timer = self._loop.call_later(wait_s, self.flush)

    def _seq(self) -> int:
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def _emit(self, event: Event) -> None:
        if not self.is_muted:
            self._log.append(self._turn.id, (event,))


def _joined(parts: list[str]) -> str:
    """Join the parts, leaving one: the next join does not begin again."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""


def _ms(start: float, end: float) -> int:
    return round((end - start) * 1000)
