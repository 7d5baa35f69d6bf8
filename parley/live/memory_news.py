"""The announcements of one process: the default implementation of the `Announcements` port."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from parley.chat.news import News, TurnNews

# A listener that takes none of this many is told to look at the rows instead.
_MOST_WAITING = 100


class MemoryAnnouncements:
    """Hands news to those who listen in this process; see the port for the promises."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._boxes: dict[str | None, set[_Box]] = {}

    def announce(self, news: News) -> None:  # noqa: D102 - see the port
        for key in (news.thread_id, None) if isinstance(news, TurnNews) else (news.owner_id,):
            for box in self._boxes.get(key, ()):
                box.put(news)

    def missed(self) -> None:
        """Tell all who listen that news may have been missed."""
        for box in set().union(*self._boxes.values()):
            box.put(None)

    @contextmanager
    def listening(self, *of: str | None) -> Iterator[AsyncIterator[News | None]]:  # noqa: D102
        box = _Box()
        for key in of:
            self._boxes.setdefault(key, set()).add(box)
        try:
            yield box
        finally:
            for key in of:
                self._boxes[key].discard(box)
                if not self._boxes[key]:
                    del self._boxes[key]


class _Box:
    """News for one listener, bounded."""

    def __init__(self) -> None:
        self._news: deque[News | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, news: News | None) -> None:
        if len(self._news) >= _MOST_WAITING:
            self._news.clear()
            self._news.append(None)
        self._news.append(news)
        self._arrived.set()

    def __aiter__(self) -> "_Box":
        return self

    async def __anext__(self) -> News | None:
        while not self._news:
            self._arrived.clear()
            await self._arrived.wait()
        return self._news.popleft()
