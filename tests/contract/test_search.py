"""Search: what was written is found, by its words, by its owner alone, until it is deleted."""

from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import given, settings
from hypothesis import strategies as st

from data_layer.database import Database, DatabaseConfig, open_database
from data_layer.migrate import alembic_config, migrate
from data_layer.search import Effort, SearchHit, search_threads
from data_layer.tables import search_documents, steps
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.words import document_words, words_of
from data_layer.writer import Writer, open_writer
from parley.chat.inherited import interrupted_end
from parley.chat.messages import storable_text
from parley.chat.turns import Answer, Owner, Turn
from tests.contract.support import a_turn, an_end, an_owner

BEFORE_BRANCHES = "0006"


@pytest.fixture
def threads(database: Database, writer: Writer) -> SqlThreads:
    return SqlThreads(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def say(
    turns: SqlTurnStore,
    owner: Owner,
    question: str,
    answer: str = "",
    thread_id: str = "",
    title: str = "",
) -> str:
    """Have a turn, and give its thread."""
    thread_id = thread_id or str(uuid4())
    new = a_turn(owner, thread_id, question, thread_name=title)
    await turns.finish((await turns.begin(new)).turn, an_end(answer))
    return thread_id


async def find(threads: SqlThreads, owner: Owner, text: str) -> list[SearchHit]:
    return list((await threads.search(owner.id, text, limit=100)).hits)


async def found(threads: SqlThreads, owner: Owner, text: str) -> list[str]:
    return [hit.thread.id for hit in await find(threads, owner, text)]


WORDS = {
    "whole word": "heißt",
    "beginning of the last": "haupt",
    "any case": "JAPAN",
    "two in any order": "japan wie",
    "of the answer": "capital",
    "no diacritics": "tokyo",
    "other diacritics": "Tókyo",
    "doubled letter": "heisst",
    "two characters": "京都",
    "one character": "都",
    "half and full width": "\uff2a\uff21\uff30\uff21\uff2e",
    "quotes": '"japan"',
    "only signs around": "-japan*:)",
    "a number": "2026",
}


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
async def test_word_is_found(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, text: str
) -> None:
    answer = "The capital (or: the seat) in 2026 is 東京都, Tōkyō."
    thread_id = await say(turns, owner, "Wie heißt die Hauptstadt von Japan?", answer)
    assert await found(threads, owner, text) == [thread_id]


@pytest.mark.parametrize(
    "text",
    ["", " ", "%", "_", "'", "\0", "\ud800", "🎉", "apan", "jap wie", "japan kyoto", "京東", "NOT"],
)
async def test_other_texts_find_nothing(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, text: str
) -> None:
    await say(turns, owner, "Wie heißt die Hauptstadt von Japan? 100% 🎉", "東京都")
    assert await find(threads, owner, text) == []


@pytest.mark.parametrize("sign", list("\"'()*:^-+&|!<>{}[]\\~@#%_;,.?/=$` \n\0"))
async def test_sign_in_a_query_is_no_syntax(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, sign: str
) -> None:
    thread_id = await say(turns, owner, "one two")
    for text in (f"{sign}one{sign}two{sign}", f"one {sign}{sign} two", f"two{sign} AND{sign}"):
        expected = [] if "AND" in text else [thread_id]
        assert await found(threads, owner, text) == expected


async def test_answer_is_found_when_it_is_over(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id, "question"))).turn
    await turns.checkpoint(turn, Answer(text="half an answer"))
    assert await found(threads, owner, "half") == []
    await turns.finish(turn, an_end("whole answer"))
    assert await found(threads, owner, "half") == []
    assert await found(threads, owner, "whole") == [thread_id]


async def test_interrupted_answer_is_found(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id, "question", replica_id="dead"))).turn
    await turns.checkpoint(turn, Answer(text="half an answer"))
    assert await found(threads, owner, "half") == []
    await turns.finish(turn, interrupted_end(await turns.turn(owner.id, turn.id)))
    assert await found(threads, owner, "half") == [thread_id]


async def test_best_comes_first_and_each_thread_once(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner
) -> None:
    named = await say(turns, owner, "x", title="all of Python")
    often = await say(turns, owner, "python?", "python!")
    await say(turns, owner, "still Python", "python", often)
    old, new = [await say(turns, owner, f"Python {number}") for number in range(2)]
    hits = await find(threads, owner, "python")
    assert [hit.thread.id for hit in hits] == [named, often, new, old]
    assert [hit.step_id is None for hit in hits] == [True, False, False, False]
    assert [hit.snippet.text for hit in hits] == ["all of Python", "python", "Python 1", "Python 0"]
    assert hits[0].snippet.marks == ((7, 13),)


async def test_pages_of_a_search_go_on_where_they_ended(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner
) -> None:
    added = [await say(turns, owner, f"word {number}") for number in range(7)]
    shown: list[str] = []
    cursor = None
    while True:
        page = await threads.search(owner.id, "word", limit=3, cursor=cursor)
        shown += [hit.thread.id for hit in page.hits]
        if not (cursor := page.next_cursor):
            break
        await say(turns, owner, "a newer word")
    assert shown == added[::-1]


async def test_common_word_is_found_by_a_walk(
    database: Database, turns: SqlTurnStore, owner: Owner
) -> None:
    """The newest hits, and the same ones, whether the index is asked or not."""
    for number in range(9):
        await say(turns, owner, f"word {number}")
    by_index = await found_with(database, owner, Effort(most_hits=4, sample=200))
    by_walk = await found_with(database, owner, Effort(most_hits=4, sample=4))
    assert len(by_index) == 4
    assert by_walk == by_index


async def test_common_word_of_late_hides_no_old_thread(
    database: Database, turns: SqlTurnStore, owner: Owner
) -> None:
    """It is common among the newest, where the walk ends, and rare before."""
    old = [await say(turns, owner, "word") for _ in range(3)]
    for _ in range(30):
        await say(turns, owner, "other")
    new = [await say(turns, owner, "word") for _ in range(2)]
    found = await found_with(database, owner, Effort(most_hits=10, sample=4, one_in=2))
    assert found == [*reversed(new), *reversed(old)]


async def found_with(database: Database, owner: Owner, effort: Effort) -> list[str]:
    page = await database.read(
        lambda c: search_threads(c, owner.id, "word", limit=20, effort=effort)
    )
    return [hit.thread.id for hit in page.hits]


async def test_new_name_takes_the_place_of_the_old(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner
) -> None:
    thread_id = await say(turns, owner, "x", title="before")
    await threads.rename(owner.id, thread_id, "after")
    assert await found(threads, owner, "before") == []
    assert await found(threads, owner, "after") == [thread_id]


async def test_nothing_of_a_deleted_thread_stays(
    threads: SqlThreads, turns: SqlTurnStore, database: Database, owner: Owner
) -> None:
    thread_id = await say(turns, owner, "word", "word")
    await threads.delete(owner.id, thread_id)
    kept = sa.select(search_documents.c.id).where(search_documents.c.thread_id == thread_id)
    assert await database.read(lambda c: c.execute(kept).all()) == []
    assert await found(threads, owner, "word") == []
    await assert_index_is_whole(database)


async def assert_index_is_whole(database: Database) -> None:
    """SQLite's index says itself whether it holds what the documents do."""

    def check(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "INSERT INTO search_index (search_index, rank) VALUES ('integrity-check', 1)"
            )

    await database.write(check)


def a_step(owner: Owner, thread_id: str, output: str) -> dict[str, object]:
    """Make a step as Chainlit writes one, of no turn."""
    return {
        "id": str(uuid4()),
        "thread_id": thread_id,
        "owner_id": owner.id,
        "arrival": 9,
        "ordinal": 0,
        "type": "assistant_message",
        "name": "assistant",
        "input": "",
        "output": output,
        "reasoning": "",
        "is_error": False,
        "metadata": {},
        "created_at": a_turn(owner, thread_id).created_at,
    }


async def test_step_of_no_turn_is_found_as_it_is_now(
    threads: SqlThreads, turns: SqlTurnStore, writer: Writer, database: Database, owner: Owner
) -> None:
    thread_id = await say(turns, owner, "x")
    step = a_step(owner, thread_id, "first words")
    mine = steps.c.id == step["id"]
    await writer.write(lambda c: c.execute(sa.insert(steps), step))
    assert await found(threads, owner, "first") == [thread_id]
    await writer.write(lambda c: c.execute(sa.update(steps).where(mine).values(output="second")))
    assert await found(threads, owner, "first") == []
    assert await found(threads, owner, "second") == [thread_id]
    await writer.write(lambda c: c.execute(sa.delete(steps).where(mine)))
    assert await found(threads, owner, "second") == []
    await assert_index_is_whole(database)


async def test_only_its_owner_finds_a_thread(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner
) -> None:
    """Also another whose id ends alike: the place in the index only saves time."""
    neighbour = Owner(str(uuid4())[:-12] + owner.id[-12:], uuid4().hex)
    mine, theirs = [await say(turns, one, "same words") for one in (owner, neighbour)]
    assert await found(threads, owner, "same words") == [mine]
    assert await found(threads, neighbour, "same words") == [theirs]
    assert await found(threads, an_owner(), "same words") == []


@pytest.mark.parametrize(
    "text",
    ["word " * 210_000, "x" * 2**20, "".join(chr(0x4E00 + n % 20_000) for n in range(2**18))],
    ids=["words", "one word", "no spaces"],
)
async def test_text_of_a_mebibyte_is_written_and_found(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, text: str
) -> None:
    thread_id = await say(turns, owner, "question", text)
    assert await found(threads, owner, text[:60].strip()) == [thread_id]
    assert await found(threads, owner, text) == [thread_id]


TEXTS = st.text(
    st.one_of(
        st.sampled_from("abcABC  éèäÖßσΣς東京都가나かがｶﾞก์हिन्दी½Ⅷ'\"\\-_*:&|!()"),
        st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\0"),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(text=TEXTS)
async def test_database_finds_what_python_would(database: Database, text: str) -> None:
    """Both databases split a text like `document_words`, and so they find the same threads.

    In any order; PostgreSQL also has the first character of each run, which is found all the same.
    """
    owner = an_owner()
    made = sa.func.search_words(sa.literal(owner.id, steps.c.owner_id.type), "m", text)

    def words(connection: sa.Connection) -> set[str]:
        if connection.dialect.name == "sqlite":
            return set(connection.execute(sa.select(made)).scalar_one().split())
        return set(connection.execute(sa.select(sa.func.tsvector_to_array(made))).scalar_one())

    expected = set(document_words(owner.id, "m", text).split())
    got = await database.read(words)
    assert got >= expected
    assert all(len(word) == len("12345678m") + 1 for word in got - expected)


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), asked=TEXTS, which=st.integers(0, 40))
async def test_each_word_of_a_text_is_found(
    database: Database, writer: Writer, texts: list[str], asked: str, which: int
) -> None:
    owner, turns, threads = an_owner(), SqlTurnStore(database, writer), SqlThreads(database, writer)
    said = {await say(turns, owner, storable_text(text)): text for text in texts}
    for thread_id, text in said.items():
        if words := words_of(text):
            asked = words[which % len(words)]
            assert thread_id in await found(threads, owner, asked)
            assert thread_id in await found(threads, owner, asked[: len(asked) // 2 + 1])
    assert await found(threads, an_owner(), asked) == []


async def test_replaced_text_is_not_found(
    threads: SqlThreads, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    said: list[Turn] = []
    for text, answer, replaced in (
        ("apple", "red", None),
        ("pear", "green", None),
        ("plum", "blue", 1),
    ):
        replaces = said[replaced].id if replaced is not None else None
        new = a_turn(owner, thread_id, text, thread_name="fruit", replaces=replaces)
        said.append((await turns.begin(new)).turn)
        await turns.finish(said[-1], an_end(answer))
    elsewhere = await say(turns, owner, "apple and pear", title="x")

    async def hidden() -> set[str]:
        words = ("apple", "red", "pear", "green", "plum", "blue")
        return {word for word in words if thread_id not in await found(threads, owner, word)}

    assert await hidden() == {"pear", "green"}
    assert await found(threads, owner, "pear") == [elsewhere]
    await turns.choose_branch(owner.id, thread_id, said[1].id)
    assert await hidden() == {"plum", "blue"}
    first = a_turn(owner, thread_id, "cherry", replaces=said[0].id)
    await turns.begin(first)
    assert await hidden() == {"apple", "red", "pear", "green", "plum", "blue"}
    await turns.choose_branch(owner.id, thread_id, said[2].id)
    assert await hidden() == {"pear", "green"}


async def test_migration_hides_what_was_replaced_before(
    empty_database_url: str, owner: Owner
) -> None:
    async with (
        open_database(DatabaseConfig(url=empty_database_url)) as database,
        open_writer(database) as writer,
    ):
        await migrate(database)
        turns, threads = SqlTurnStore(database, writer), SqlThreads(database, writer)
        thread_id = await say(turns, owner, "apple", "red", title="fruit")
        (hit,) = await find(threads, owner, "apple")
        assert hit.step_id
        first = await turns.turn_of_step(owner.id, hit.step_id)
        await turns.begin(a_turn(owner, thread_id, "pear", replaces=first))
        await migrate(database, BEFORE_BRANCHES)
        await migrate(database)
        assert await found(threads, owner, "apple") == []
        assert await found(threads, owner, "pear") == [thread_id]


async def test_migration_finds_what_was_there_before(empty_database_url: str, owner: Owner) -> None:
    async with open_database(DatabaseConfig(url=empty_database_url)) as database:
        await migrate(database)
        async with open_writer(database) as writer:
            turns, threads = SqlTurnStore(database, writer), SqlThreads(database, writer)
            thread_id = await say(turns, owner, "a question", "an answer", title="a title")
            dead = a_turn(owner, thread_id, "another", replica_id="dead")
            await turns.checkpoint((await turns.begin(dead)).turn, Answer(text="interrupted"))
            left = await turns.turn(owner.id, dead.id)
            await turns.finish(left, interrupted_end(left))
            await threads.delete(owner.id, await say(turns, owner, "gone"))
            await database.write(lambda c: command.downgrade(alembic_config(c), "0002"))
            await migrate(database)
            for text in ("question", "answer", "title", "another", "interrupted"):
                assert await found(threads, owner, text) == [thread_id]
            assert await found(threads, owner, "gone") == []
            await say(turns, owner, "said afterwards")
            assert len(await find(threads, owner, "afterwards")) == 1
