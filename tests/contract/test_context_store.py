"""The `ContextStore` port: the same in memory and in a real Redis."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from parley.chat.ports import ContextStore
from parley.chat.turns import ContextRecord, Exchange
from parley.context.memory_store import MemoryContextStore
from tests.contract.redis_support import record, store_at


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ContextStore]:
    if request.param == "memory":
        yield MemoryContextStore()
        return
    async with store_at(request.getfixturevalue("redis_url")) as store:
        yield store


async def test_nothing_is_there_at_first(store: ContextStore) -> None:
    assert await store.load(str(uuid4())) is None


@pytest.mark.parametrize("answers", [(), ("",), ("one", "日本 \u2028 \"'\\\x00😀")])
async def test_what_was_saved_is_loaded(store: ContextStore, answers: tuple[str, ...]) -> None:
    thread_id, saved = str(uuid4()), record(*answers)
    await store.save(thread_id, saved)
    assert await store.load(thread_id) == saved
    assert await store.load(str(uuid4())) is None


async def test_parents_and_counts_are_kept(store: ContextStore) -> None:
    first = Exchange("a", "before", "question", "answer", 5, 70)
    saved = ContextRecord("b", (first, Exchange("b", "a", "", "x", None, 1)), "tiktoken:o200k")
    await store.save("thread", saved)
    assert await store.load("thread") == saved


async def test_the_last_save_counts(store: ContextStore) -> None:
    thread_id = str(uuid4())
    await store.save(thread_id, record("one"))
    last = record("one", "two")
    await store.save(thread_id, last)
    assert await store.load(thread_id) == last


async def test_forgotten_threads_are_gone(store: ContextStore) -> None:
    threads = [str(uuid4()) for _ in range(3)]
    for thread_id in threads:
        await store.save(thread_id, record("one"))
    assert await store.forget(threads[:2])
    assert await store.forget([str(uuid4())])
    assert await store.forget([])
    assert [await store.load(thread_id) is None for thread_id in threads] == [True, True, False]


async def test_memory_keeps_what_was_used_last() -> None:
    store, kept = MemoryContextStore(capacity=2), record("one")
    for thread in ("a", "b"):
        await store.save(thread, kept)
    await store.load("a")
    await store.save("c", kept)
    assert [await store.load(thread) for thread in "abc"] == [kept, None, kept]


async def test_memory_is_bounded_by_what_is_said() -> None:
    store, kept = MemoryContextStore(capacity_chars=30), record("one")  # 11 characters
    for thread in ("a", "b", "c", "c"):
        await store.save(thread, kept)
    assert [await store.load(thread) for thread in "abc"] == [None, kept, kept]
    await store.save("d", record("x" * 31))
    assert [await store.load(thread) for thread in "bcd"] == [None, None, None]
