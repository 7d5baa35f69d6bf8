"""The order of steps, and values made storable: for any tree and any JSON."""

import json
import math
from typing import cast

from chainlit.step import StepDict
from hypothesis import given
from hypothesis import strategies as st

from data_layer.step_tree import last_messages, parents_first
from data_layer.storable import storable_json

IDS = [str(number) for number in range(6)]


def tree(parents: list[str | None]) -> list[StepDict]:
    return [
        cast(StepDict, {"id": id, "parentId": parent, "type": "tool"})
        for id, parent in zip(IDS, parents, strict=False)
    ]


@given(st.lists(st.sampled_from([None, "gone", *IDS]), max_size=len(IDS)))
def test_parents_come_first_and_nothing_is_dropped(parents: list[str | None]) -> None:
    shown = parents_first(tree(parents))
    assert sorted(step["id"] for step in shown) == IDS[: len(parents)]
    before: set[str | None] = {None}
    for step in shown:
        assert step["parentId"] in before
        before.add(step["id"])


@given(st.lists(st.none(), max_size=len(IDS)))
def test_steps_without_parents_keep_their_order(parents: list[None]) -> None:
    assert parents_first(tree([*parents])) == tree([*parents])


def test_parents_that_are_there_are_kept() -> None:
    shown = parents_first(tree(["1", "2", None, "0"]))
    expected = [("2", None), ("1", "2"), ("0", "1"), ("3", "0")]
    assert [(step["id"], step["parentId"]) for step in shown] == expected


def test_thread_is_cut_before_its_last_messages() -> None:
    kinds = ["run", "user", "tool", "user", "run"]
    steps = [cast(StepDict, {"type": kind}) for kind in kinds]
    assert last_messages(steps, 1, {"user"}) == steps[3:]
    assert last_messages(steps, 2, {"user"}) == steps[1:]
    assert last_messages(steps, 3, {"user"}) == steps


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)


@given(ANYTHING)
def test_any_json_becomes_storable(value: object) -> None:
    text = json.dumps(storable_json(value), ensure_ascii=False, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text


@given(st.floats())
def test_only_numbers_that_are_none_are_lost(number: float) -> None:
    assert storable_json(number) == (number if math.isfinite(number) else None)
