"""Threads of one owner: pages, search, changes; a foreign one is a missing one."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.begin import ensure_user
from data_layer.database import Database
from data_layer.tables import threads as table
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, NotFound
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_end, an_owner

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def threads(database: Database, writer: Writer) -> SqlThreads:
    return SqlThreads(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def add(writer: Writer, owner: Owner, *names: str, apart_s: float = 0) -> list[str]:
    """Insert threads, the first with the oldest activity."""
    rows = [
        {
            "id": str(uuid4()),
            "owner_id": owner.id,
            "name": name,
            "metadata": {},
            "last_arrival": 0,
            "created_at": NOON,
            "last_active_at": NOON + timedelta(seconds=number * apart_s),
        }
        for number, name in enumerate(names)
    ]

    def insert(connection: sa.Connection) -> None:
        ensure_user(connection, owner, NOON)
        connection.execute(sa.insert(table), rows)

    await writer.write(insert)
    return [str(row["id"]) for row in rows]


async def all_pages(threads: SqlThreads, owner: Owner, limit: int) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = await threads.page(owner.id, limit=limit, cursor=cursor)
        ids += [row.id for row in page.rows]
        if page.next_cursor is None:
            return ids
        assert len(page.rows) == limit
        cursor = page.next_cursor


@pytest.mark.parametrize("apart_s", [0, 0.000001])
async def test_pages_give_each_thread_once(
    threads: SqlThreads, writer: Writer, owner: Owner, apart_s: float
) -> None:
    added = await add(writer, owner, *map(str, range(250)), apart_s=apart_s)
    paged = await all_pages(threads, owner, 30)
    assert sorted(paged) == sorted(added)
    if apart_s:
        assert paged == added[::-1]


async def test_last_page_may_be_full(threads: SqlThreads, writer: Writer, owner: Owner) -> None:
    await add(writer, owner, "one", "two")
    assert (await threads.page(owner.id, limit=2)).next_cursor is None
    assert (await threads.page(an_owner().id, limit=2)).rows == []


async def test_thread_that_moves_up_does_not_disturb_the_pages(
    threads: SqlThreads, writer: Writer, turns: SqlTurnStore, owner: Owner
) -> None:
    added = await add(writer, owner, *map(str, range(6)), apart_s=1)
    first = await threads.page(owner.id, limit=3)
    await turns.begin(a_turn(owner, added[0]))
    second = await threads.page(owner.id, limit=3, cursor=first.next_cursor)
    assert [row.id for row in second.rows] == [added[2], added[1]]


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "AAAA",
        cursor_of("2026-01-02T12:00:00+00:00"),
        cursor_of("2026-01-02T12:00:00+00:00|1"),
        cursor_of(f"yesterday|{uuid4()}"),
        cursor_of(f"0001-01-01T00:00:00+14:00|{uuid4()}"),
        cursor_of(f"2026-01-02T12:00:00+00:00|{uuid4()}|"),
    ],
)
async def test_cursor_of_someone_elses_making_is_refused(
    threads: SqlThreads, owner: Owner, cursor: str
) -> None:
    with pytest.raises(InvalidRequest):
        await threads.page(owner.id, limit=3, cursor=cursor)


async def test_cursor_shows_nothing_of_another_owner(
    threads: SqlThreads, writer: Writer, owner: Owner
) -> None:
    await add(writer, owner, "one", "two")
    cursor = (await threads.page(owner.id, limit=1)).next_cursor
    assert (await threads.page(an_owner().id, limit=1, cursor=cursor)).rows == []


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("PYTHON", {"About Python"}),
        ("100%", {"100% sure"}),
        ("%", {"100% sure"}),
        ("_", set()),
        ("'", {"it's"}),
        ("nothing", set()),
        ("\0", set()),
        ("\ud800", set()),
    ],
)
async def test_search_takes_the_words_as_they_are(
    threads: SqlThreads, writer: Writer, owner: Owner, search: str, found: set[str]
) -> None:
    await add(writer, owner, "About Python", "100% sure", "it's")
    page = await threads.page(owner.id, limit=9, search=search)
    assert {row.name for row in page.rows} == found


async def test_thread_is_renamed(threads: SqlThreads, writer: Writer, owner: Owner) -> None:
    (thread_id,) = await add(writer, owner, "one")
    await threads.rename(owner.id, thread_id, " two\n\0words ")
    assert (await threads.thread(owner.id, thread_id)).name == "two \ufffdwords"


async def test_deleted_thread_is_gone_with_all_it_held(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await turns.begin(a_turn(owner, thread_id))
    await threads.delete(owner.id, thread_id)
    assert (await threads.page(owner.id, limit=9)).rows == []
    assert await threads.steps(owner.id, thread_id, limit=9) == []
    with pytest.raises(NotFound):
        await threads.delete(owner.id, thread_id)


ON_A_THREAD: dict[str, Callable[[SqlThreads, str, str], Awaitable[object]]] = {
    "thread": lambda threads, owner_id, id: threads.thread(owner_id, id),
    "rename": lambda threads, owner_id, id: threads.rename(owner_id, id, "mine"),
    "delete": lambda threads, owner_id, id: threads.delete(owner_id, id),
}


@pytest.mark.parametrize("what", ON_A_THREAD)
async def test_foreign_thread_is_a_missing_one_and_stays_as_it_is(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str, what: str
) -> None:
    await turns.begin(a_turn(owner, thread_id))
    row = await threads.thread(owner.id, thread_id)
    steps = await threads.steps(owner.id, thread_id, limit=9)
    messages = set()
    for id in (thread_id, str(uuid4())):
        with pytest.raises(NotFound) as missing:
            await ON_A_THREAD[what](threads, an_owner().id, id)
        messages.add(str(missing.value))
    assert len(messages) == 1
    assert await threads.thread(owner.id, thread_id) == row
    assert await threads.steps(owner.id, thread_id, limit=9) == steps
    assert await threads.steps(an_owner().id, thread_id, limit=9) == []


async def test_steps_come_in_their_order_the_newest_of_them(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    for number in range(3):
        turn = (await turns.begin(a_turn(owner, thread_id, f"question {number}"))).turn
        await turns.finish(turn, an_end(f"answer {number}"))
    rows = await threads.steps(owner.id, thread_id, limit=5)
    assert [row.output for row in rows] == [
        "answer 0",
        "question 1",
        "answer 1",
        "question 2",
        "answer 2",
    ]
    assert rows[-1].generation["tokenCount"] == 3
    assert (await threads.thread(owner.id, thread_id)).name == "question 0"


async def test_turn_moves_its_thread_to_the_top(
    threads: SqlThreads, turns: SqlTurnStore, writer: Writer, owner: Owner
) -> None:
    added = await add(writer, owner, "one", "two", apart_s=1)
    await turns.begin(a_turn(owner, added[0]))
    assert [row.id for row in (await threads.page(owner.id, limit=9)).rows] == added
