"""Cache: what was found is remembered briefly, in this process."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class BriefCache(Generic[T]):
    """Keeps what a key gave for a while; of failures nothing is kept."""

    def __init__(self, kept_s: float, most: int = 64) -> None:
        """Keep at most `most` values, each for `kept_s`."""
        self._kept_s = kept_s
        self._most = most
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    async def get(self, key: str, find: Callable[[], Awaitable[T]]) -> T:
        """Give what is kept, or find it."""
        kept = self._kept.get(key)
        if kept and monotonic() - kept[0] < self._kept_s:
            return kept[1]
        found = await find()
        self._kept.pop(key, None)
        self._kept[key] = (monotonic(), found)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
