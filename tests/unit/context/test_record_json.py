"""The record in a shared store: what is whole comes back, whatever else is there does not."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.chat.turns import ContextRecord, Exchange
from parley.context.record_json import LIMIT_BYTES, Unreadable, decode_record, encode_record

THREAD = "thread"
# No half of a surrogate pair: no database of ours keeps one.
texts = st.text(st.characters(exclude_categories=["Cs"]))
tokens = st.none() | st.integers(0, 2**40)
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
    return ContextRecord(said[-1].turn_id if said else "head", tuple(said), counted_by)


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
    assert (kept["version"], kept["thread_id"], kept["head"]) == (1, THREAD, "b")
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
        (changed(version=2, messages={"more": []}), Unreadable.VERSION),
        (changed(head="a"), Unreadable.DAMAGED),
        (changed(more=1), Unreadable.DAMAGED),
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
