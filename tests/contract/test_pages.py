"""Pages of threads: each thread once, newest activity first, only the owner's, by a rating too."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.begin import ensure_user
from data_layer.database import Database
from data_layer.tables import feedbacks, steps
from data_layer.tables import threads as table
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_owner

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def threads(database: Database, writer: Writer) -> SqlThreads:
    return SqlThreads(database, writer)


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


async def rate(writer: Writer, owner: Owner, value: int, thread_ids: list[str]) -> None:
    """Insert a step into each of these threads, and the owner's feedback on it."""
    made = [(str(uuid4()), thread_id) for thread_id in thread_ids]
    step = {
        "owner_id": owner.id,
        "arrival": 1,
        "ordinal": 0,
        "type": "assistant_message",
        "name": "assistant",
        "input": "",
        "output": "",
        "reasoning": "",
        "is_error": False,
        "metadata": {},
        "created_at": NOON,
    }
    rating = {"owner_id": owner.id, "value": value, "created_at": NOON}

    def insert(connection: sa.Connection) -> None:
        connection.execute(
            sa.insert(steps), [step | {"id": id, "thread_id": thread} for id, thread in made]
        )
        connection.execute(
            sa.insert(feedbacks),
            [
                rating | {"id": str(uuid4()), "step_id": id, "thread_id": thread}
                for id, thread in made
            ],
        )

    await writer.write(insert)


async def all_pages(
    threads: SqlThreads, owner: Owner, limit: int, feedback: int | None = None
) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = await threads.page(owner.id, limit=limit, cursor=cursor, feedback=feedback)
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


@pytest.mark.parametrize(("limit", "given"), [(-1, 1), (0, 1), (101, 100), (2**70, 100)])
async def test_page_has_a_size_in_bounds(
    threads: SqlThreads, writer: Writer, owner: Owner, limit: int, given: int
) -> None:
    await add(writer, owner, *map(str, range(120)))
    assert len((await threads.page(owner.id, limit=limit)).rows) == given


async def test_thread_that_moves_up_does_not_disturb_the_pages(
    threads: SqlThreads, database: Database, writer: Writer, owner: Owner
) -> None:
    added = await add(writer, owner, *map(str, range(6)), apart_s=1)
    first = await threads.page(owner.id, limit=3)
    await SqlTurnStore(database, writer).begin(a_turn(owner, added[0]))
    second = await threads.page(owner.id, limit=3, cursor=first.next_cursor)
    assert [row.id for row in second.rows] == [added[2], added[1]]


NO_ID = "8c7c2bd0-4f0a-4b0e-9d51-7f6f7b1f2a10"


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize("search", [None, "word"])
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "\ud800",
        "AAAA",
        cursor_of("2026-01-02T12:00:00+00:00"),
        cursor_of("2026-01-02T12:00:00+00:00|1"),
        cursor_of(f"yesterday|{NO_ID}"),
        cursor_of(f"0001-01-01T00:00:00+14:00|{NO_ID}"),
        cursor_of(f"2026-01-02T12:00:00+00:00|{NO_ID}|"),
        cursor_of(f"8|{2**40}"),
        cursor_of(f"1|{2**63}"),
        cursor_of("1|" + "9" * 5000),
    ],
)
async def test_cursor_of_someone_elses_making_is_refused(
    threads: SqlThreads, owner: Owner, cursor: str, search: str | None
) -> None:
    with pytest.raises(InvalidRequest):
        await threads.page(owner.id, limit=3, cursor=cursor, search=search)


async def test_cursor_shows_nothing_of_another_owner(
    threads: SqlThreads, writer: Writer, owner: Owner
) -> None:
    await add(writer, owner, "one", "two")
    cursor = (await threads.page(owner.id, limit=1)).next_cursor
    assert (await threads.page(an_owner().id, limit=1, cursor=cursor)).rows == []


@pytest.mark.parametrize("many", [False, True])
async def test_feedback_of_zero_is_a_filter_too(
    database: Database, writer: Writer, owner: Owner, *, many: bool
) -> None:
    """Both ways: through the few that are rated, and past the threads that are not."""
    threads = SqlThreads(database, writer, few=3 if many else 1000)
    added = await add(writer, owner, *map(str, range(30)), apart_s=1)
    await rate(writer, owner, 0, added[:10])
    await rate(writer, owner, 1, added[5:20])
    assert await all_pages(threads, owner, 4, feedback=0) == added[9::-1]
    assert await all_pages(threads, owner, 4, feedback=1) == added[19:4:-1]
    assert await all_pages(threads, owner, 4) == added[::-1]


@pytest.mark.parametrize("search", [None, "word"])
async def test_feedback_filter_knows_only_ones_own(
    threads: SqlThreads, writer: Writer, owner: Owner, search: str | None
) -> None:
    (mine,) = await add(writer, owner, "word")
    other = an_owner()
    (theirs,) = await add(writer, other, "word")
    await rate(writer, other, 1, [theirs, mine])  # as it cannot be, but for a mistake
    assert (await threads.page(owner.id, limit=9, search=search, feedback=1)).rows == []
    found = await threads.page(other.id, limit=9, search=search, feedback=1)
    assert [row.id for row in found.rows] == [theirs]
