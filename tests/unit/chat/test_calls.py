"""Calls: put together from deltas, however servers count them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.calls import MOST_CALLS, Calls
from parley.chat.deltas import ToolCallDelta
from parley.chat.errors import ProtocolViolation


def calls(*deltas: ToolCallDelta) -> list[tuple[str, str, str]]:
    collected = Calls()
    for delta in deltas:
        collected.add(delta)
    return [(part.id, part.name, part.arguments) for part in collected.parts()]


@pytest.mark.parametrize(
    "deltas",
    [
        [  # as OpenAI counts
            ToolCallDelta(0, "x", "a", ""),
            ToolCallDelta(0, None, None, "{}"),
            ToolCallDelta(1, "y", "b", '{"c"'),
            ToolCallDelta(1, None, None, ":1}"),
        ],
        [  # side by side
            ToolCallDelta(0, "x", "a", ""),
            ToolCallDelta(1, "y", "b", '{"c"'),
            ToolCallDelta(0, None, None, "{}"),
            ToolCallDelta(1, None, None, ":1}"),
        ],
        [  # each one the first, by their ids
            ToolCallDelta(0, "x", "a", "{}"),
            ToolCallDelta(0, "y", "b", '{"c":1}'),
        ],
        [  # the name again and again
            ToolCallDelta(0, "x", "a", "{"),
            ToolCallDelta(0, "x", "a", "}"),
            ToolCallDelta(1, "y", "b", '{"c":1}'),
            ToolCallDelta(1, "y", "b", ""),
        ],
    ],
)
def test_calls_are_put_together(deltas: list[ToolCallDelta]) -> None:
    assert calls(*deltas) == [("x", "a", "{}"), ("y", "b", '{"c":1}')]


def test_calls_with_one_index_and_one_id_are_told_apart_by_their_names() -> None:
    again = [ToolCallDelta(0, "0", "a", "{"), ToolCallDelta(0, "0", None, "}")]
    other = ToolCallDelta(0, "0", "b", "{}")
    assert calls(*again, *again, other) == [
        ("0", "a", "{}"),
        ("0_2", "a", "{}"),
        ("0_3", "b", "{}"),
    ]


def test_call_without_id_and_arguments_gets_both() -> None:
    assert calls(ToolCallDelta(0, None, "a", "")) == [("call_1", "a", "{}")]


def test_calls_without_end_are_refused() -> None:
    with pytest.raises(ProtocolViolation):
        calls(*(ToolCallDelta(n, f"{n}", "a", "") for n in range(MOST_CALLS + 1)))
    with pytest.raises(ProtocolViolation):
        calls(*(ToolCallDelta(0, "x", None, "x" * 1000) for _ in range(1000)))


@given(
    st.lists(
        st.builds(
            ToolCallDelta,
            st.integers(0, 3),
            st.none() | st.sampled_from(["x", "y"]),
            st.none() | st.sampled_from(["a", "b"]),
            st.text('{}"', max_size=2),
            st.none(),
        ),
        max_size=20,
    )
)
def test_ids_are_never_shared(deltas: list[ToolCallDelta]) -> None:
    ids = [id for id, _, _ in calls(*deltas)]
    assert len(set(ids)) == len(ids)
