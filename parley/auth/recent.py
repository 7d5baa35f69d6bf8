"""Recent: what was read a moment ago, so that a page with twenty requests asks the rows once."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

# What another replica revoked is known here after as long.
KEPT_S = 1.0
_MOST = 10_000


class Recent(Generic[T]):
    """A bounded cache of what is true for a moment."""

    def __init__(self, kept_s: float = KEPT_S, clock: Callable[[], float] = monotonic) -> None:
        """Keep each entry for so long."""
        self._kept_s = kept_s
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._cleared = 0

    def get(self, key: str) -> T | None:
        """Give what was put under the key a moment ago."""
        entry = self._entries.get(key)
        return entry[1] if entry and self._clock() < entry[0] else None

    def put(self, key: str, value: T) -> T:
        """Keep a value for a moment, and give it back."""
        self._entries.pop(key, None)
        self._entries[key] = (self._clock() + self._kept_s, value)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        return value

    async def read(self, key: str, read: Callable[[], Awaitable[T | None]]) -> T | None:
        """Give what was put under the key, else what is read now, and keep that.

        Not what was read while something was revoked: it may be from before.
        """
        if (recent := self.get(key)) is not None:
            return recent
        cleared = self._cleared
        value = await read()
        if value is not None and cleared == self._cleared:
            self.put(key, value)
        return value

    def clear(self) -> None:
        """Forget everything: something was revoked."""
        self._entries.clear()
        self._cleared += 1
