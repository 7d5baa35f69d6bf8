"""Child: what runs apart takes no more of us than it was given."""

import asyncio
import tracemalloc

import pytest

from parley.tools.child import run_apart
from tests.patience import PATIENCE_S


async def test_child_that_writes_without_end_is_ended() -> None:
    tracemalloc.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            given = bytes(2**20)
            assert (
                await run_apart("tests.fakes.endless_child", given=given, limit_bytes=2**20) is None
            )
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


async def test_child_that_is_not_there_gives_nothing() -> None:
    assert await run_apart("tests.fakes.no_such_child", given=b"") is None


async def test_child_ends_with_its_call() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await run_apart("tests.fakes.endless_child", "quiet", given=bytes(2**20))
