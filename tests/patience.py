"""How long a test waits for what must come, and how it waits for what happens elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# What comes costs nothing of it, on a machine with much else to do either; it ends a test that waits in vain.
PATIENCE_S = 30.0
_POLL_S = 0.02


async def until(condition: Callable[[], T]) -> T:
    """Poll until the condition is true, and give what it gave; fail when time is up."""

    async def asked() -> T:
        return condition()

    return await eventually(asked)


async def eventually(condition: Callable[[], Awaitable[T]]) -> T:
    """Do the same where the condition has to be awaited."""
    async with asyncio.timeout(PATIENCE_S):
        while not (value := await condition()):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(_POLL_S)
        return value
