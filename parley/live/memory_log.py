"""The turn log of one process, in memory: the default implementation of the `TurnLog` port."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from parley.chat.events import Event
from parley.live.tape import Tape

# A turn that is not written here is asked after in the rows, when nothing came for so long.
SILENCE_S = 1.0


class MemoryTurnLog:
    """Events of the turns that this process runs; see the port for the promises.

    Forgetting a log only takes it off the list: readers that follow it keep it until they end.
    """

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        """Make an empty log."""
        self._silence_s = silence_s
        self._written: dict[str, Tape] = {}
        # Of turns that are not written here, or not yet: they wait in the queue.
        self._awaited: dict[str, Tape] = {}

    def append(self, turn_id: str, events: Sequence[Event]) -> None:  # noqa: D102 - see the port
        tape = self._written.get(turn_id)
        if tape is None:
            tape = self._written[turn_id] = self._awaited.pop(turn_id, Tape())
        tape.add(events)

    def holds(self, turn_id: str) -> bool:  # noqa: D102
        return turn_id in self._written

    def follow(  # noqa: D102
        self, turn_id: str, after: int, *, merge: bool = True
    ) -> AsyncGenerator[Event]:
        tape = self._written.get(turn_id) or self._await(turn_id)
        return tape.follow(after, merge=merge)

    async def claim(self, turn_id: str, fence: int) -> Sequence[Event]:  # noqa: D102
        self.append(turn_id, ())
        tape = self._written[turn_id]
        tape.claim(fence)
        return tuple(tape.events)

    async def leave(self, turn_id: str) -> None:  # noqa: D102
        if tape := self._written.pop(turn_id, None):
            tape.release()

    def forget(self, turn_id: str) -> None:  # noqa: D102
        self._written.pop(turn_id, None)

    def _await(self, turn_id: str) -> Tape:
        tape = self._awaited.get(turn_id)
        if tape is None:
            tape = self._awaited[turn_id] = Tape()
            asyncio.get_running_loop().call_later(self._silence_s, self._silence, turn_id, tape)
        return tape

    def _silence(self, turn_id: str, tape: Tape) -> None:
        if self._awaited.get(turn_id) is tape:
            del self._awaited[turn_id]
            tape.release()
