"""Feedback: one for a step and user, and only for what is theirs."""

from uuid import uuid4

import pytest
from chainlit.types import FeedbackDict

from data_layer.database import Database
from data_layer.feedbacks import LARGEST_COMMENT, Rating, SqlFeedbacks, feedback_of
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, NotFound, TooLarge
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_end, an_owner
from tests.contract.test_statements import counted


@pytest.fixture
def feedbacks(database: Database, writer: Writer) -> SqlFeedbacks:
    return SqlFeedbacks(database, writer)


@pytest.fixture
async def answer(database: Database, writer: Writer, owner: Owner, thread_id: str) -> str:
    """The step of an answer in a thread of `owner`."""
    turns = SqlTurnStore(database, writer)
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    await turns.finish(turn, an_end())
    return turn.answer_step_id


async def kept(database: Database, owner: Owner, thread_id: str) -> list[FeedbackDict]:
    found = await database.read(lambda connection: feedback_of(connection, owner.id, thread_id))
    assert all(step_id == feedback["forId"] for step_id, feedback in found.items())
    return list(found.values())


async def test_rating_again_changes_the_first(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    first = await feedbacks.rate(owner.id, Rating(answer, 1))
    second = await feedbacks.rate(owner.id, Rating(answer.upper(), 0, "too long", first))
    assert first == second
    expected = FeedbackDict(id=first, forId=answer, value=0, comment="too long")
    assert await kept(database, owner, thread_id) == [expected]
    assert await feedbacks.rate(owner.id, Rating(answer, 1)) == first
    assert [f["comment"] for f in await kept(database, owner, thread_id)] == [None]


async def test_rating_is_found_by_its_own_id(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    first = await feedbacks.rate(owner.id, Rating(answer, 1))
    assert await feedbacks.rate(owner.id, Rating("", 0, feedback_id=first)) == first
    assert [f["value"] for f in await kept(database, owner, thread_id)] == [0]


async def test_rating_is_taken_back_once(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    first = await feedbacks.rate(owner.id, Rating(answer, 1))
    assert await feedbacks.delete(owner.id, first)
    assert not await feedbacks.delete(owner.id, first)
    assert await kept(database, owner, thread_id) == []


async def test_nobody_rates_what_is_not_theirs(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    mine = await feedbacks.rate(owner.id, Rating(answer, 1, "mine"))
    stranger = an_owner()
    said = set()
    for rating in (
        Rating(answer, 0),
        Rating(answer, 0, feedback_id=mine),
        Rating("", 0, feedback_id=mine),
        Rating(str(uuid4()), 0),
        Rating("not an id'; --", 0),
    ):
        with pytest.raises(NotFound) as refused:
            await feedbacks.rate(stranger.id, rating)
        said.add(refused.value.message)
    assert len(said) == 1
    assert not await feedbacks.delete(stranger.id, mine)
    assert not await feedbacks.delete(owner.id, "not an id")
    assert [f["comment"] for f in await kept(database, owner, thread_id)] == ["mine"]
    assert await kept(database, stranger, thread_id) == []


async def test_deleted_thread_takes_its_ratings_along(
    database: Database,
    writer: Writer,
    feedbacks: SqlFeedbacks,
    owner: Owner,
    thread_id: str,
    answer: str,
) -> None:
    await feedbacks.rate(owner.id, Rating(answer, 1))
    await SqlThreads(database, writer).delete(owner.id, thread_id)
    assert await kept(database, owner, thread_id) == []
    with pytest.raises(NotFound):
        await feedbacks.rate(owner.id, Rating(answer, 1))


async def test_unfit_ratings_are_refused(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    for value in (2, -1, True):
        with pytest.raises(InvalidRequest):
            await feedbacks.rate(owner.id, Rating(answer, value))
    with pytest.raises(TooLarge):
        await feedbacks.rate(owner.id, Rating(answer, 1, "x" * (LARGEST_COMMENT + 1)))
    assert await kept(database, owner, thread_id) == []
    await feedbacks.rate(owner.id, Rating(answer, 1, "a\0b\ud800"))
    assert [f["comment"] for f in await kept(database, owner, thread_id)] == ["a\ufffdb\ufffd"]


async def test_ratings_of_a_thread_cost_one_statement(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    await feedbacks.rate(owner.id, Rating(answer, 1))
    with counted() as cost:
        assert await kept(database, owner, thread_id)
    assert len(cost.statements) == 1


async def test_only_ratings_of_what_is_shown_are_read(
    database: Database, feedbacks: SqlFeedbacks, owner: Owner, thread_id: str, answer: str
) -> None:
    await feedbacks.rate(owner.id, Rating(answer, 1))
    for shown, found in (
        ({answer, str(uuid4())}, {answer}),
        ({str(uuid4())}, set()),
        (set(), set()),
    ):
        rated = await database.read(lambda one: feedback_of(one, owner.id, thread_id, shown))  # noqa: B023 - run now
        assert set(rated) == found
