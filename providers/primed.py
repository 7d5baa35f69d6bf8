"""Primed: an answer whose first delta is there, waited for by whoever must know that it comes."""

from collections.abc import AsyncIterator, Awaitable, Callable

from parley.chat.deltas import Delta


async def primed(deltas: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
    """Wait for the first delta and give all of them, as `Primed` where there is one."""
    if isinstance(deltas, Primed):
        return deltas
    try:
        first = await anext(deltas)
    except StopAsyncIteration:
        return deltas
    return Primed(first, deltas)


class Primed:
    """The deltas, of which the first is there; costs one call for each of the others."""

    def __init__(self, first: Delta, rest: AsyncIterator[Delta]) -> None:
        """Give `first`, then `rest`."""
        self._first = first
        self._rest = rest
        self._next: Callable[[], Awaitable[Delta]] = self._give_first

    def __aiter__(self) -> AsyncIterator[Delta]:
        """Give itself."""
        return self

    def __anext__(self) -> Awaitable[Delta]:
        """Give the next one."""
        return self._next()

    async def _give_first(self) -> Delta:
        self._next = self._rest.__anext__
        return self._first
