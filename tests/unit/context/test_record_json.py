"""The record in a shared store: what is whole comes back, whatever else is there does not."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.chat.turns import ContextRecord, Exchange
from parley.context import record_json
from parley.context.record_json import LIMIT_BYTES, Unreadable, decode_record, encode_record

THREAD = "thread"
# No half of a surrogate pair: no database of ours keeps one.
texts = st.text(st.characters(exclude_categories=["Cs"]))
tokens = st.none() | st.integers(1, 64)
exchanges = st.builds(
    Exchange, st.uuids().map(str), st.none() | texts, texts, texts, tokens, tokens
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)

# No deadline: other tests may have the processor.
unhurried = settings(deadline=None)


def record_of(said: list[Exchange], counted_by: str = "") -> ContextRecord:
    follow = [replace(after, parent_id=before.turn_id) for before, after in pairwise(said)]
    return ContextRecord(said[-1].turn_id if said else "head", (*said[:1], *follow), counted_by)


records = st.builds(record_of, st.lists(exchanges, unique_by=lambda e: e.turn_id), texts)
RECORD = record_of(
    [Exchange("a", None, "q", "r", 1, 2), Exchange("b", "a", "s", "t", 3, None)], "x"
)


def encoded(record: ContextRecord = RECORD) -> bytes:
    data = encode_record(THREAD, record)
    assert data is not None
    return data


def changed(**fields: object) -> bytes:
    return msgspec.json.encode(json.loads(encoded()) | fields)


def assert_whole_or_nothing(data: bytes) -> None:
    """Whatever was read can be written, and is then the same."""
    found = decode_record(THREAD, data)
    if isinstance(found, ContextRecord):
        assert decode_record(THREAD, encoded(found)) == found
        assert not found.exchanges or found.exchanges[-1].turn_id == found.head_turn_id


@unhurried
@given(records)
def test_what_was_written_is_read(record: ContextRecord) -> None:
    assert decode_record(THREAD, encoded(record)) == record


def test_the_record_is_as_others_may_read_it() -> None:
    kept = json.loads(encoded())
    assert (kept["version"], kept["thread_id"], kept["head"]) == (3, THREAD, "b")
    assert kept["messages"][2:] == [
        {"role": "user", "content": "s", "turn_id": "b", "parent_id": "a", "tokens": 3},
        {"role": "assistant", "content": "t", "turn_id": "b"},
    ]


@unhurried
@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"version":1,"x":' + b"[" * 100_000)
@example(b'{"version":1e400}')
@example(b'"\xff"')
def test_any_bytes_are_no_error(data: bytes) -> None:
    assert isinstance(decode_record(THREAD, data), Unreadable)


@unhurried
@given(values)
def test_any_json_is_no_error(value: Any) -> None:
    assert isinstance(decode_record(THREAD, json.dumps(value).encode()), Unreadable)


@unhurried
@given(records, st.data())
def test_a_record_with_other_bytes_is_whole_or_nothing(
    record: ContextRecord, data: st.DataObject
) -> None:
    whole = encoded(record)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    assert_whole_or_nothing(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])


@unhurried
@given(records, st.data())
def test_a_record_with_other_values_is_whole_or_nothing(
    record: ContextRecord, data: st.DataObject
) -> None:
    kept = json.loads(encoded(record))
    messages = kept["messages"]
    part = data.draw(st.sampled_from([kept, *messages]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(values | texts)
    if messages and data.draw(st.booleans()):
        messages.pop(data.draw(st.integers(0, len(messages) - 1)))
    assert_whole_or_nothing(json.dumps(kept).encode())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", Unreadable.DAMAGED),
        (encoded()[:-1], Unreadable.DAMAGED),
        (b'[{"role": "user", "content": "hi"}]', Unreadable.FOREIGN),
        (changed(thread_id="other"), Unreadable.FOREIGN),
        (changed(version=0), Unreadable.VERSION),
        (changed(version=1, messages={"more": []}), Unreadable.VERSION),
        (changed(head="a"), Unreadable.DAMAGED),
        (changed(more=1), Unreadable.DAMAGED),
        (changed(counted_by="other"), Unreadable.DAMAGED),
        (encoded().replace(b'"content":"s"', b'"content":"x"'), Unreadable.DAMAGED),
        (encoded().replace(b'"tokens":3', b'"tokens":4'), Unreadable.DAMAGED),
        (changed(messages=json.loads(encoded())["messages"][1:]), Unreadable.DAMAGED),
        (changed(messages=json.loads(encoded())["messages"][2:] * 2), Unreadable.DAMAGED),
        (b" " * (LIMIT_BYTES + 1), Unreadable.TOO_LARGE),
    ],
)
def test_why_it_is_no_record(data: bytes, why: Unreadable) -> None:
    assert decode_record(THREAD, data) is why


@pytest.mark.parametrize("text", ["x" * LIMIT_BYTES, "\ud800"])
def test_what_cannot_be_kept_is_not_written(text: str) -> None:
    assert encode_record(THREAD, record_of([Exchange("a", None, text, "")])) is None


def test_a_record_with_a_gap_is_damaged() -> None:
    """Whoever wrote it, and whole as it may be otherwise: a model would miss what was said."""
    first, last = Exchange("a", None, "q", "r"), Exchange("c", "b", "s", "t")
    written = encoded(ContextRecord("c", (first, last)))
    assert decode_record(THREAD, written) is Unreadable.DAMAGED


@pytest.mark.parametrize("tokens", [-1, 0, 2 + 65, 2**40])
def test_impossible_counts_are_not_written(tokens: int) -> None:
    found = decode_record(THREAD, encoded(record_of([Exchange("a", None, "é", "", tokens)])))
    assert isinstance(found, ContextRecord)
    assert found.exchanges == (Exchange("a", None, "é", ""),)


@pytest.mark.parametrize("tokens", [-1, 0, 1 + 65])
def test_impossible_counts_are_damage(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_json, "_count", lambda _, tokens: tokens)
    written = encoded(record_of([Exchange("a", None, "q", "r", tokens, 1)]))
    assert decode_record(THREAD, written) is Unreadable.DAMAGED
