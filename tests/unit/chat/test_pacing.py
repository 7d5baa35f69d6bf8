"""Pacing: what is live comes no faster than asked, the rest at once."""

import asyncio
from collections.abc import AsyncGenerator

from parley.chat.events import Event, TextEvent, TurnStart
from parley.chat.pacing import paced

PAUSE_S = 0.02


async def written() -> AsyncGenerator[Event]:
    yield TurnStart("t", 1, "thread", "answer", "m")
    for seq in range(2, 6):
        yield TextEvent("t", seq, "x", seq - 2)


async def _times(live_after: int, pause_s: float = PAUSE_S) -> list[float]:
    now = asyncio.get_running_loop().time
    return [now() async for e in paced(written(), pause_s, live_after) if isinstance(e, TextEvent)]


async def test_live_text_comes_one_after_the_other() -> None:
    began_at = asyncio.get_running_loop().time()
    for nth, arrived_at in enumerate(await _times(live_after=0)):
        assert arrived_at - began_at > nth * PAUSE_S - 1e-6  # the clock's own grain


async def test_what_was_written_before_is_not_slowed() -> None:
    pause_s = 0.5  # far more than a machine with much else to do takes for what is not slowed
    times = await _times(4, pause_s)
    assert times[2] - times[0] < pause_s
