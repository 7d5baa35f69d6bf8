"""The announcements that several processes share: each piece of news is an entry of one stream."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from parley.chat.news import News
from parley.live.event_bytes import encode_news
from parley.live.memory_news import MemoryAnnouncements
from parley.live.redis_writer import RedisWriter


class RedisAnnouncements:
    """The `Announcements` port: heard here at once, elsewhere when Redis has them."""

    def __init__(self, writer: RedisWriter, here: MemoryAnnouncements, replica_id: str) -> None:
        """Tell others by `writer`; `here` also gets what they tell."""
        self._writer = writer
        self._here = here
        self._me = replica_id

    def announce(self, news: News) -> None:  # noqa: D102 - see the port
        self._here.announce(news)
        self._writer.tell(encode_news(self._me, news))

    def listening(  # noqa: D102
        self, *of: str | None
    ) -> AbstractContextManager[AsyncIterator[News | None]]:
        return self._here.listening(*of)
