"""What is live in several processes: in Redis, which decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from parley.chat.news import News
from parley.chat.ports import Live
from parley.live.event_bytes import encode_news
from parley.live.memory_news import MemoryAnnouncements
from parley.live.redis_commands import Commands
from parley.live.redis_log import RedisTurnLog
from parley.live.redis_news import RedisAnnouncements
from parley.live.redis_reader import RedisReader
from parley.live.redis_writer import RedisWriter


@asynccontextmanager
async def open_redis_live(
    commands: Commands,
    blocking: Redis,
    replica_id: str,
    window_s: float,
    is_fresh: Callable[[], bool],
) -> AsyncIterator[Live]:
    """Share what is live by Redis, there or not; closes neither client.

    Nothing is written while the process is not `is_fresh`.
    """
    here = MemoryAnnouncements()

    def hear(news: News | None) -> None:
        if news is None:
            here.missed()
        else:
            here.announce(news)

    writer = RedisWriter(commands, window_s, is_fresh, encode_news(replica_id, None))
    reader = RedisReader(blocking, commands, replica_id, hear)
    async with asyncio.TaskGroup() as tasks:
        reads = tasks.create_task(reader.read_forever())
        forever = [
            tasks.create_task(writer.write_forever()),
            tasks.create_task(reader.wake_forever()),
        ]
        try:
            yield Live(
                RedisTurnLog(commands, writer, reader),
                RedisAnnouncements(writer, here, replica_id),
            )
        finally:
            await writer.written()
            reader.close()
            await reads
            for task in forever:
                task.cancel()
