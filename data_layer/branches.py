"""Branches: the turns of a thread from a tip back to its first.

Turns are a tree by `parent_turn_id`: an edit is a sibling, and nothing is deleted by it.
"""

import sqlalchemy as sa

from data_layer.tables import turns


def branch_of(
    tip: str | sa.ScalarSelect[str] | sa.BindParameter[str],
    owner_id: str | sa.BindParameter[str],
    limit: int | sa.BindParameter[int],
) -> sa.CTE:
    """Walk from the turn `tip` towards the first, at most `limit` turns, all of this owner.

    Gives `id`, and `depth`: 1 for the tip.
    """
    branch = (
        sa.select(turns.c.id, turns.c.parent_turn_id, sa.literal(1).label("depth"))
        .where(turns.c.id == tip, turns.c.owner_id == owner_id)
        .cte("branch", recursive=True)
    )
    earlier = turns.alias("earlier")
    return branch.union_all(
        sa.select(earlier.c.id, earlier.c.parent_turn_id, branch.c.depth + 1)
        .join(branch, earlier.c.id == branch.c.parent_turn_id)
        .where(branch.c.depth < limit, earlier.c.owner_id == owner_id)
    )
