"""Pacing: text no faster than people who want to see it being written have asked for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from parley.chat.events import Event, TextEvent


async def paced(
    events: AsyncGenerator[Event], pause_s: float, live_after: int
) -> AsyncGenerator[Event]:
    """Let each text come at least `pause_s` after the one before, above the seq `live_after`.

    What is not above it was written before anybody asked: it comes as fast as it can be read.
    """
    now = asyncio.get_running_loop().time
    next_at = 0.0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextEvent) and event.seq > live_after:
                await asyncio.sleep(max(0.0, next_at - now()))
                next_at = now() + pause_s
            yield event
