"""The watch over owners itself: it sees a statement that names none, wherever that hides."""

import inspect
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.export import _all
from data_layer.feedbacks import SqlFeedbacks
from data_layer.sharing import SqlSharing
from data_layer.steps import SqlSteps
from data_layer.tables import elements, steps, threads, turns, users
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.users import SqlUsers
from tests.contract.owned import unowned

ME = "2b2f6a1e-3c5b-4b46-9d3f-0f4b1a8f8f6d"
_other = turns.alias("other")
_mine = steps.c.owner_id == ME


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(steps).where(_mine),
        sa.select(steps.c.id).where(steps.c.owner_id.in_([ME]), steps.c.output != ""),
        sa.update(steps).where(_mine).values(output=""),
        sa.delete(steps).where(sa.and_(steps.c.id == ME, _mine)),
        sa.select(steps, turns)
        .join(turns, sa.and_(turns.c.id == steps.c.turn_id, turns.c.owner_id == steps.c.owner_id))
        .where(_mine),
        sa.select(steps).where(_mine, sa.exists().where(turns.c.owner_id == steps.c.owner_id)),
        sa.select(users).where(users.c.identifier == "me"),
        sa.select(threads).where(threads.c.id == ME, threads.c.shared_at.is_not(None)),
        sa.insert(elements).values(id=ME, owner_id=ME),
    ],
)
def test_owned_statement_passes(statement: Any) -> None:
    assert unowned(statement) == []


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(steps),
        sa.select(steps).where(steps.c.id == ME),
        sa.select(steps.c.owner_id).where(steps.c.owner_id != ME),
        sa.select(steps).where(sa.or_(_mine, steps.c.id == ME)),
        sa.select(steps).where(steps.c.owner_id == turns.c.owner_id),
        sa.select(steps, turns).join(turns, turns.c.id == steps.c.turn_id).where(_mine),
        sa.select(steps).where(_mine, sa.exists().where(_other.c.id == steps.c.turn_id)),
        sa.select(steps).where(_mine, steps.c.id.in_(sa.select(_other.c.id))),
        sa.select(sa.select(steps).where(steps.c.id == ME).subquery()),
        sa.select(sa.union_all(sa.select(steps), sa.select(steps).where(_mine)).cte()),
        sa.update(steps).where(steps.c.id == ME).values(output=""),
        sa.update(steps)
        .where(_mine)
        .values(output=sa.select(_other.c.key).where(_other.c.id == ME).scalar_subquery()),
        sa.delete(threads).where(threads.c.shared_at.is_(None)),
        sqlite.insert(elements)
        .values(id=ME, owner_id=ME)
        .on_conflict_do_update(index_elements=[elements.c.id], set_={"name": "x"}),
    ],
)
def test_statement_without_an_owner_is_seen(statement: Any) -> None:
    assert unowned(statement)


async def test_statements_of_the_data_layer_are_watched(
    database: Database, unowned_statements: list[str]
) -> None:
    await database.read(_all(sa.select(steps).where(_mine)))
    assert unowned_statements == []
    await database.read(_all(sa.select(steps).where(steps.c.id == ME)))
    assert "export.<lambda> names no owner of ['steps']" in unowned_statements.pop()


# Those who read for everybody, and those who work for no user at all.
FOR_EVERYBODY = {
    (SqlSharing, "view"),
    (SqlSharing, "owner_of_file"),
    (SqlElements, "sweep"),
}
_OWNERS = {"owner", "owner_id", "viewer_id", "turn", "new", "identifier", "found"}


@pytest.mark.parametrize(
    "store",
    [SqlElements, SqlFeedbacks, SqlSharing, SqlSteps, SqlThreads, SqlTurnStore, SqlUsers],
)
def test_owner_is_the_first_argument_of_every_method(store: type) -> None:
    """An owner, or what has one: a turn, or an attachment that was found for its owner."""
    for name, method in vars(store).items():
        if name.startswith("_") or (store, name) in FOR_EVERYBODY:
            continue
        first = list(inspect.signature(method).parameters.values())[1]
        assert first.name in _OWNERS, f"{store.__name__}.{name}"
        assert first.default is inspect.Parameter.empty
