"""Tapes: those of the turns that are written here, and those that somebody here waits for."""

from collections.abc import AsyncGenerator, Callable

from parley.chat.events import Event
from parley.live.tape import Tape


class Tapes:
    """Finds the tape of a turn; one that is awaited becomes one that is written."""

    def __init__(self, awaits: Callable[[str, Tape], None]) -> None:
        """`awaits` is called for each turn that is followed here and not written here."""
        self.written: dict[str, Tape] = {}
        self.awaited: dict[str, Tape] = {}
        self._awaits = awaits

    def begin(self, turn_id: str) -> Tape:
        """Write a turn here, from now on."""
        tape = self.written.get(turn_id)
        if tape is None:
            tape = self.written[turn_id] = self.awaited.pop(turn_id, Tape())
        return tape

    def follow(self, turn_id: str, after: int, *, merge: bool) -> AsyncGenerator[Event]:
        """Follow a turn, wherever it is written."""
        if tape := self.written.get(turn_id):
            return tape.follow(after, merge=merge)
        tape = self.awaited.get(turn_id)
        if tape is None:
            tape = self.awaited[turn_id] = Tape()
            self._awaits(turn_id, tape)
        return tape.follow(after, merge=merge, is_all=False)

    def leave(self, turn_id: str) -> None:
        """Write a turn here no more, and let its readers go."""
        if tape := self.written.pop(turn_id, None):
            tape.close()

    def still_awaited(self, turn_id: str, tape: Tape) -> bool:
        """Let the readers of an awaited tape go; say whether there are any, who may come back."""
        if self.awaited.get(turn_id) is not tape:
            return False
        if not tape.readers:
            del self.awaited[turn_id]
            tape.close()
            return False
        tape.release()
        return True
