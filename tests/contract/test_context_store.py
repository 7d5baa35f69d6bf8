"""The `ContextStore` port."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from parley.chat.ports import ContextStore
from parley.chat.turns import ContextRecord, Exchange
from parley.context.memory_store import MemoryContextStore

STORES: dict[str, Callable[[], ContextStore]] = {"memory": MemoryContextStore}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> ContextStore:
    return STORES[request.param]()


def record(*answers: str) -> ContextRecord:
    exchanges = tuple(Exchange(str(uuid4()), None, "question", answer) for answer in answers)
    return ContextRecord(exchanges[-1].turn_id if exchanges else str(uuid4()), exchanges)


async def test_nothing_is_there_at_first(store: ContextStore) -> None:
    assert await store.load(str(uuid4())) is None


@pytest.mark.parametrize("answers", [(), ("",), ("one", "日本 \u2028 \"'\\")])
async def test_what_was_saved_is_loaded(store: ContextStore, answers: tuple[str, ...]) -> None:
    thread_id, saved = str(uuid4()), record(*answers)
    await store.save(thread_id, saved)
    assert await store.load(thread_id) == saved
    assert await store.load(str(uuid4())) is None


async def test_the_last_save_counts(store: ContextStore) -> None:
    thread_id = str(uuid4())
    await store.save(thread_id, record("one"))
    last = record("one", "two")
    await store.save(thread_id, last)
    assert await store.load(thread_id) == last


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
