"""Branches: the turns of a thread from a tip back to its first.

Turns are a tree by `parent_turn_id`: an edit is a sibling, and nothing is deleted by it.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data_layer.tables import threads, turns
from parley.chat.errors import NotFound

_NO_LIMIT = 2**31 - 1


def branch_of(
    tip: str | sa.ScalarSelect[str] | sa.BindParameter[str],
    owner_id: str | sa.ScalarSelect[str] | sa.BindParameter[str],
    limit: int | sa.BindParameter[int],
    *columns: str,
) -> sa.CTE:
    """Walk from the turn `tip` towards the first, at most `limit` turns, all of this owner.

    Gives `id`, `parent_turn_id` and these columns of each, and `depth`: 1 for the tip. What is
    wanted of a turn is taken along: joined to the branch, SQLite might read all of the owner's.
    """
    names = ("id", "parent_turn_id", *columns)
    branch = (
        sa.select(*(turns.c[name] for name in names), sa.literal(1).label("depth"))
        .where(turns.c.id == tip, turns.c.owner_id == owner_id)
        .cte("branch", recursive=True)
    )
    earlier = turns.alias("earlier")
    return branch.union_all(
        sa.select(*(earlier.c[name] for name in names), branch.c.depth + 1)
        .join(branch, earlier.c.id == branch.c.parent_turn_id)
        .where(branch.c.depth < limit, earlier.c.owner_id == owner_id)
    )


def choose_branch(connection: Connection, owner_id: str, thread_id: str, turn_id: str) -> str:
    """Do what `TurnStore.choose_branch` promises, in the transaction of this connection."""
    newest = connection.execute(_newest_after(owner_id, thread_id, turn_id)).scalar()
    if newest is None:
        raise NotFound("There is no such turn in this conversation.")
    connection.execute(
        sa.update(threads)
        .where(threads.c.id == thread_id, threads.c.owner_id == owner_id)
        .values(head_turn_id=newest)
    )
    mark_branch(connection, owner_id, thread_id, newest)
    return str(newest)


def mark_branch(connection: Connection, owner_id: str, thread_id: str, head_id: str | None) -> None:
    """Note which turns of a thread are on the branch that ends with this one; None: none is."""
    branch = branch_of(sa.literal(head_id, turns.c.id.type), owner_id, _NO_LIMIT)
    is_on = turns.c.id.in_(sa.select(branch.c.id))
    connection.execute(
        sa.update(turns)
        .where(
            turns.c.thread_id == thread_id,
            turns.c.owner_id == owner_id,
            turns.c.on_branch != is_on,
        )
        .values(on_branch=is_on)
    )


def _newest_after(owner_id: str, thread_id: str, turn_id: str) -> sa.Select[str]:
    """Find the newest turn of the tree that grows from a turn; what is newest has no child."""
    tree = (
        sa.select(turns.c.id, turns.c.arrival)
        .where(
            turns.c.id == turn_id,
            turns.c.thread_id == thread_id,
            turns.c.owner_id == owner_id,
        )
        .cte("tree", recursive=True)
    )
    later = turns.alias("later")
    tree = tree.union_all(
        sa.select(later.c.id, later.c.arrival)
        .join(tree, later.c.parent_turn_id == tree.c.id)
        .where(later.c.owner_id == owner_id)
    )
    return sa.select(tree.c.id).order_by(tree.c.arrival.desc()).limit(1)
