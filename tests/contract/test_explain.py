"""The hot queries go through an index, however many rows others have: read from the plans."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from data_layer.api_keys import _found as key_found
from data_layer.api_keys import keys_over
from data_layer.begin import begin_turn
from data_layer.begin_statements import MAY_RUN
from data_layer.conversations import _messages
from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.migrate import migrate, patient
from data_layer.opened import open_thread
from data_layer.ownership import _look
from data_layer.pages import encode_cursor, read_page
from data_layer.quota import check_room
from data_layer.search import Effort, search_threads
from data_layer.sign_ins import _found as signed_in
from data_layer.sign_ins import _sign_ins_over
from data_layer.steps import _FAVORITES
from data_layer.storage import Quota
from data_layer.tables import QUEUED, api_keys, feedbacks, sign_ins, steps, threads, turns, users
from data_layer.turns import _history
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_owner

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
THREADS, STEPS, ANSWERED = 120, 10, 60


@pytest.fixture(scope="module")
async def crowd(database: Database) -> Owner:
    """Four owners with as much each; gives one of them."""
    owners = [an_owner() for _ in range(4)]
    await database.write(lambda connection: _fill(connection, owners))
    await database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
    return owners[1]


def _fill(connection: sa.Connection, owners: list[Owner]) -> None:
    stamp = {"metadata": {}, "created_at": NOON}
    rows = [stamp | {"id": owner.id, "identifier": owner.identifier} for owner in owners]
    connection.execute(sa.insert(users), rows)
    for owner in owners:
        _let_in(connection, owner)
    made = [
        stamp
        | {
            "id": str(uuid4()),
            "owner_id": owner.id,
            "name": f"common title {number}",
            "last_arrival": STEPS,
            "last_active_at": NOON + timedelta(seconds=number),
        }
        for number in range(THREADS)
        for owner in owners
    ]
    connection.execute(sa.insert(threads), made)
    said = [
        stamp
        | {
            "id": str(uuid4()),
            "thread_id": thread["id"],
            "owner_id": thread["owner_id"],
            "arrival": arrival,
            "ordinal": 0,
            "type": "user_message",
            "name": "user",
            "input": "",
            "output": f"common word{number} of {thread['name']}, {arrival}",
            "reasoning": "",
            "is_error": False,
        }
        for number, thread in enumerate(made)
        for arrival in range(STEPS)
    ]
    connection.execute(sa.insert(steps), said)
    rated = [
        {
            "id": str(uuid4()),
            "thread_id": step["thread_id"],
            "step_id": step["id"],
            "owner_id": step["owner_id"],
            "value": int(step["arrival"] != 1),
            "created_at": NOON,
        }
        for step in said
    ]
    connection.execute(sa.insert(feedbacks), rated)


def _let_in(connection: sa.Connection, owner: Owner) -> None:
    """Sign somebody in many times, and give them keys."""
    stamp = {"owner_id": owner.id, "created_at": NOON, "expires_at": NOON + timedelta(days=9999)}
    signed = {"provider": "p", "profile": {}, "seen_at": NOON}
    named = {"name": "k", "hint": "h", "scopes": []}
    for table, more in ((sign_ins, signed), (api_keys, named)):
        rows = [stamp | more | {"id": (id := str(uuid4())), "digest": id} for _ in range(50)]
        connection.execute(sa.insert(table), rows)


async def plans(database: Database, operation: Callable[[sa.Connection], object]) -> list[str]:
    """Explain each SELECT that an operation sends."""

    def explained(connection: sa.Connection) -> list[str]:
        with _sent(connection) as statements:
            operation(connection)
        return [_plan(connection, *sent) for sent in statements]

    return await database.read(explained)


@contextmanager
def _sent(connection: sa.Connection) -> Iterator[list[tuple[str, Any]]]:
    """Collect the SELECTs of a connection, with what they were sent with."""
    statements: list[tuple[str, Any]] = []

    def on_statement(*arguments: Any) -> None:
        if arguments[2].startswith(("SELECT", "WITH")):
            statements.append((arguments[2], arguments[3]))

    event.listen(connection, "before_cursor_execute", on_statement)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", on_statement)


def _plan(connection: sa.Connection, statement: str, parameters: Any) -> str:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row[-1] for row in rows)
    # So few rows are read fastest as a whole; whether an index can serve is what is asked.
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
    return "\n".join(row[0] for row in rows)


OUR_TABLES = (
    "threads|steps|turns|feedbacks|elements|search_documents|users|sign_ins|api_keys|replicas"
)
# A whole table, or an index from end to end: not a search in one.
SCAN = re.compile(rf"(Seq Scan on|^SCAN) ({OUR_TABLES})\b(?! VIRTUAL)", re.MULTILINE)


def assert_indexed(plan: str, *indexes: str) -> None:
    assert not SCAN.search(plan), plan
    for index in indexes:
        assert re.search(index, plan), plan


async def test_pages_go_through_their_index(database: Database, crowd: Owner) -> None:
    first = await database.read(lambda c: read_page(c, crowd.id, limit=20))
    for cursor in (None, first.next_cursor):
        page = partial(read_page, owner_id=crowd.id, limit=20, cursor=cursor)
        (plan,) = await plans(database, page)
        assert_indexed(plan, "ix_threads_page")
        # In the order of the index: nothing is sorted, so nothing beyond the page is read.
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


async def test_few_rated_threads_are_read_by_their_ids(database: Database, crowd: Owner) -> None:
    for_few, page = await plans(database, lambda c: read_page(c, crowd.id, limit=9, feedback=0))
    assert_indexed(for_few, "ix_feedbacks_value")
    assert_indexed(page, "autoindex_threads_1|pk_threads|ix_threads_page")


async def test_many_rated_threads_are_met_on_the_way(database: Database, crowd: Owner) -> None:
    for_few, page = await plans(database, lambda c: read_page(c, crowd.id, limit=9, feedback=1))
    assert_indexed(for_few, "ix_feedbacks_value")
    assert_indexed(page, "ix_threads_page|pk_threads", "feedbacks")


async def test_rare_word_is_found_in_the_index(database: Database, crowd: Owner) -> None:
    *samples, found, texts = await plans(
        database, lambda c: search_threads(c, crowd.id, "word5 common", limit=20)
    )
    for sample, documents in zip(samples, ("titles", "messages"), strict=True):
        assert_indexed(sample, f"ix_search_documents_{documents}")
    assert_indexed(found, "ix_search_documents_words|SCAN search_index VIRTUAL TABLE INDEX")
    assert_indexed(found, "ix_turns_off_branch")
    assert_indexed(
        texts, "(pk|ix)_search_documents|INTEGER PRIMARY KEY", "pk_steps|autoindex_steps_1"
    )


async def test_common_word_is_found_on_a_walk(database: Database, crowd: Owner) -> None:
    """Through the newest documents of this owner, in the order of the index."""
    effort = Effort(most_hits=50, sample=20)
    all_plans = await plans(
        database, lambda c: search_threads(c, crowd.id, "comm", limit=20, effort=effort)
    )
    (walk,) = [plan for plan in all_plans[2:] if "ix_search_documents_messages" in plan][:1]
    assert_indexed(walk, "ix_search_documents_messages")
    assert not any("search_index" in plan for plan in all_plans[2:]), all_plans


async def test_history_is_read_by_keys(database: Database, crowd: Owner) -> None:
    (plan,) = await plans(database, lambda c: _history(c, crowd.id, str(uuid4()), 50, 9_999))
    assert_indexed(plan, "pk_turns|autoindex_turns_1", "pk_steps|autoindex_steps_1")
    # Not all that the owner has, to look for the branch among it.
    assert "(owner_id=?)" not in plan


async def test_begin_finds_its_thread_by_keys(database: Database, crowd: Owner) -> None:
    def begin_and_forget(connection: sa.Connection) -> None:
        begin_turn(connection, a_turn(crowd, str(uuid4())))
        connection.rollback()

    plan, *_ = await plans(database, begin_and_forget)
    assert_indexed(plan, "pk_threads|autoindex_threads_1", "autoindex_turns_2|uq_turns")


async def test_begin_counts_what_is_live_alone(database: Database, crowd: Owner) -> None:
    asked = {"new_owner_id": crowd.id, "max_running": 1}
    (plan,) = await plans(database, lambda connection: connection.execute(MAY_RUN, asked))
    assert_indexed(plan, "ix_turns_live|uq_turns_one_running")


async def test_conversation_is_read_by_keys(empty_database_url: str) -> None:
    """Where turns made the steps, as everywhere but in the crowd."""
    owners, thread_ids = [an_owner() for _ in range(4)], [str(uuid4()) for _ in range(4)]
    async with open_database(patient(DatabaseConfig(url=empty_database_url))) as database:
        await migrate(database)
        for owner, thread_id in zip(owners, thread_ids, strict=True):
            await database.write(partial(_answer, owner=owner, thread_id=thread_id))
        await database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
        reader, thread_id = owners[1], thread_ids[1]
        _, in_turns, free, rated, attached = await plans(
            database, lambda c: open_thread(c, reader, thread_id, 100)
        )
        assert_indexed(in_turns, "pk_turns|autoindex_turns_1", "ix_steps_turn")
        assert_indexed(free, "ix_steps_place|ix_steps_turn")
        assert_indexed(rated, "uq_feedbacks|autoindex_feedbacks_2|ix_feedbacks_value")
        assert_indexed(attached, "ix_elements_thread")
        for cursor in (None, encode_cursor("1", "0", thread_id)):
            page = _messages(reader.id, thread_id, cursor, "asc").limit(20)
            (plan,) = await plans(database, lambda c: c.execute(page))  # noqa: B023 - run now
            assert_indexed(plan, "ix_steps_place")
        (plan,) = await plans(database, lambda c: _look(c, "me", ["me", "other"]))
        # Which have few others, or none: SQLite reads the first of them whole.
        assert "uq_turns_one_running" in plan or "ix_turns_live" in plan, plan


def _answer(connection: sa.Connection, owner: Owner, thread_id: str) -> None:
    """A conversation of many turns, of which one runs."""
    for _ in range(ANSWERED):
        begin_turn(connection, a_turn(owner, thread_id, max_queued=ANSWERED))
    over = sa.and_(turns.c.owner_id == owner.id, turns.c.state == QUEUED)
    connection.execute(sa.update(turns).where(over).values(state="completed"))


async def test_favorites_and_kept_bytes_are_read_by_owner(database: Database, crowd: Owner) -> None:
    (plan,) = await plans(database, lambda c: c.execute(_FAVORITES, {"owner": crowd.id}))
    assert_indexed(plan, "ix_steps_favorite")
    (plan,) = await plans(database, lambda c: check_room(c, crowd.id, Quota(), str(uuid4())))
    assert_indexed(plan, "ix_elements_object")


async def test_who_calls_is_found_by_a_digest(database: Database, crowd: Owner) -> None:
    """What is asked with each request, and again and again for what is open."""
    ids, now = [str(uuid4()), str(uuid4())], datetime.now(UTC)
    (plan,) = await plans(database, lambda c: signed_in(c, "digest", now))
    assert_indexed(plan, "uq_sign_ins_digest|autoindex_sign_ins_2", "pk_users|autoindex_users_1")
    (plan,) = await plans(database, lambda c: key_found(c, "digest"))
    assert_indexed(plan, "uq_api_keys_digest|autoindex_api_keys_2", "pk_users|autoindex_users_1")
    (plan,) = await plans(database, lambda c: _sign_ins_over(c, ids, now))
    assert_indexed(plan, "pk_sign_ins|autoindex_sign_ins_1")
    (plan,) = await plans(database, lambda c: keys_over(c, ids, now))
    assert_indexed(plan, "pk_api_keys|autoindex_api_keys_1")
