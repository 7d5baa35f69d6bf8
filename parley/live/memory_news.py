"""The announcements of one process: the default implementation of the `Announcements` port."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from parley.chat.news import TurnNews

# A listener that takes none of this many is told to look at the rows instead.
_MOST_WAITING = 100


class MemoryAnnouncements:
    """Hands news to those who listen in this process; see the port for the promises."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._boxes: dict[str | None, set[_Box]] = {}

    def announce(self, news: TurnNews) -> None:  # noqa: D102 - see the port
        for thread_id in (news.thread_id, None):
            for box in self._boxes.get(thread_id, ()):
                box.put(news)

    def missed(self) -> None:
        """Tell all who listen that news may have been missed."""
        for boxes in self._boxes.values():
            for box in boxes:
                box.put(None)

    @contextmanager
    def listening(  # noqa: D102
        self, thread_id: str | None
    ) -> Iterator[AsyncIterator[TurnNews | None]]:
        box = _Box()
        boxes = self._boxes.setdefault(thread_id, set())
        boxes.add(box)
        try:
            yield box
        finally:
            boxes.discard(box)
            if not boxes and self._boxes.get(thread_id) is boxes:
                del self._boxes[thread_id]


class _Box:
    """News for one listener, bounded."""

    def __init__(self) -> None:
        self._news: deque[TurnNews | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, news: TurnNews | None) -> None:
        if len(self._news) >= _MOST_WAITING:
            self._news.clear()
            self._news.append(None)
        self._news.append(news)
        self._arrived.set()

    def __aiter__(self) -> "_Box":
        return self

    async def __anext__(self) -> TurnNews | None:
        while not self._news:
            self._arrived.clear()
            await self._arrived.wait()
        return self._news.popleft()
