"""The turn log of one process, in memory: the default implementation of the `TurnLog` port."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from parley.chat.events import Event
from parley.chat.ports import Claimed
from parley.live.tape import Tape
from parley.live.tapes import Tapes

# A turn that is not written here is asked after in the rows, when nothing came for so long.
SILENCE_S = 1.0


class MemoryTurnLog:
    """Events of the turns that this process runs; see the port for the promises.

    Forgetting a log only takes it off the list: readers that follow it keep it until they end.
    """

    # There is no other process that could read it.
    is_shared = True

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        """Make an empty log."""
        self._silence_s = silence_s
        self._tapes = Tapes(self._ring_later)

    def begin(self, turn_id: str, *, shared: bool = True) -> None:  # noqa: D102 - see the port
        self._tapes.begin(turn_id)

    def append(self, turn_id: str, events: Sequence[Event]) -> None:  # noqa: D102
        self._tapes.begin(turn_id).add(events)

    def holds(self, turn_id: str) -> bool:  # noqa: D102
        return turn_id in self._tapes.written

    def follow(  # noqa: D102
        self, turn_id: str, after: int, *, merge: bool = True
    ) -> AsyncGenerator[Event]:
        return self._tapes.follow(turn_id, after, merge=merge)

    async def claim(self, turn_id: str, fence: int) -> Claimed:  # noqa: D102
        tape = self._tapes.begin(turn_id)
        tape.claim(fence)
        return Claimed(tuple(tape.events), is_whole=bool(tape.events))

    async def failed(self) -> None:  # noqa: D102
        await asyncio.get_running_loop().create_future()

    def withdraw(self, turn_id: str) -> None:  # noqa: D102
        pass  # nobody else can read it

    async def leave(self, turn_id: str) -> None:  # noqa: D102
        self._tapes.leave(turn_id)

    def forget(self, turn_id: str) -> None:  # noqa: D102
        self._tapes.written.pop(turn_id, None)

    def _ring_later(self, turn_id: str, tape: Tape) -> None:
        """Have the rows asked after a silence, for as long as somebody waits."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._silence_s, self._ring, turn_id, tape)

    def _ring(self, turn_id: str, tape: Tape) -> None:
        if self._tapes.still_awaited(turn_id, tape):
            self._ring_later(turn_id, tape)
