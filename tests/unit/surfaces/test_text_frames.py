"""The plain-text stream of ``POST /chat``: what a reader puts together is what the model wrote."""

import re
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Attempt,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    TurnStart,
)
from parley.surfaces.sse import DONE, event_frames, text_frame, text_frames
from tests.sse_reader import read_events, read_lines

AWKWARD = st.sampled_from(
    ["\n", "\r", "\r\n", "[DONE]", " [DONE] ", "[DONE", "]", " ", "ü", "data:", ":"]
)
TEXTS = st.lists(AWKWARD | st.text(st.characters(codec="utf-8")), max_size=8).map("".join)


def one_line_end(text: str) -> str:
    """An SSE stream has one line end: which one the model wrote cannot be told."""
    return re.sub(r"\r\n|\r", "\n", text)


async def follow(events: Sequence[Event]) -> AsyncGenerator[Event]:
    for event in events:
        yield event


async def rendered(*events: Event) -> bytes:
    return b"".join([frame async for frame in text_frames(follow(events))])


def texts(*parts: str) -> list[Event]:
    offsets = [len("".join(parts[:i])) for i in range(len(parts))]
    return [
        TextEvent("t", i, part, at) for i, (part, at) in enumerate(zip(parts, offsets, strict=True))
    ]


DONE_EVENT = Done("t", 99, FinishReason.STOP, 1, 2)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("hi", b"data: hi\n\n"),
        (" hi", b"data:  hi\n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("a\rb", b"data: a\ndata: b\n\n"),
        ("a\r\nb", b"data: a\ndata: b\n\n"),
        ("\n", b"data: \ndata: \n\n"),
        ("[DONE]", b"data: [DONE\n\ndata: ]\n\n"),
        ("a\n[DONE]\nb", b"data: a\ndata: [DONE\n\ndata: ]\ndata: b\n\n"),
        ("is [DONE] now", b"data: is [DONE] now\n\n"),
        ("Grüße \N{PARTY POPPER}", "data: Grüße \N{PARTY POPPER}\n\n".encode()),
    ],
)
def test_frames_a_text(text: str, frame: bytes) -> None:
    assert text_frame(text) == frame


@given(TEXTS)
def test_a_reader_gets_the_text_back(text: str) -> None:
    assert "".join(read_events(text_frame(text))) == one_line_end(text)


@given(TEXTS)
def test_no_text_looks_like_the_end(text: str) -> None:
    lines = list(read_lines(text_frame(text) + DONE))
    assert sum(map(len, lines)) >= len(one_line_end(text).replace("\n", ""))
    assert "[DONE]" not in list(read_events(text_frame(text)))


@example(["\r", "\n", "\n"])
@given(st.lists(TEXTS.filter(bool), max_size=6))
async def test_the_cut_of_the_events_does_not_show(parts: list[str]) -> None:
    stream = await rendered(*texts(*parts), DONE_EVENT)
    *pieces, end = read_events(stream)
    assert end == "[DONE]"
    assert "".join(pieces) == one_line_end("".join(parts))


async def test_a_line_end_cut_in_two_is_one() -> None:
    assert await rendered(*texts("a\r", "\nb")) == b"data: a\ndata: \n\ndata: b\n\ndata: [DONE]\n\n"


async def test_only_text_is_shown() -> None:
    stream = await rendered(
        TurnStart("t", 1, "c", "m", "demo:echo"),
        ReasoningEvent("t", 2, "hm", 0),
        *texts("hi"),
        DONE_EVENT,
    )
    assert stream == b"data: hi\n\ndata: [DONE]\n\n"


async def test_an_error_is_its_message() -> None:
    stream = await rendered(ErrorEvent("t", 1, "provider_unavailable", "No model."), DONE_EVENT)
    assert list(read_events(stream)) == ["No model.", "[DONE]"]


async def test_an_error_stands_apart_from_text() -> None:
    stream = await rendered(*texts("half an"), ErrorEvent("t", 2, "internal", "Gone."), DONE_EVENT)
    assert list(read_events(stream)) == ["half an", "\n\nGone.", "[DONE]"]


async def test_an_answer_that_begins_again_ends_the_stream() -> None:
    again = Attempt("t", 2, 2, "openai", "m", "BrokenStream", keep=False)
    stream = await rendered(*texts("half an"), again, *texts("whole answer"), DONE_EVENT)
    first, said, end = read_events(stream)
    assert (first, end) == ("half an", "[DONE]")
    assert "began again" in said
    assert "whole answer" not in stream.decode()


async def test_beginning_again_before_any_text_is_not_seen() -> None:
    again = Attempt("t", 2, 2, "openai", "m", "Overloaded", keep=False)
    assert list(read_events(await rendered(again, *texts("hi"), DONE_EVENT))) == ["hi", "[DONE]"]


async def test_another_attempt_that_keeps_the_text_is_not_seen() -> None:
    more = Attempt("t", 2, 2, "openai", "m", "BrokenStream", keep=True)
    stream = await rendered(*texts("half"), more, TextEvent("t", 3, " more", 4), DONE_EVENT)
    assert list(read_events(stream)) == ["half", " more", "[DONE]"]


async def test_of_a_snapshot_only_the_rest_is_shown() -> None:
    stream = await rendered(*texts("half"), Snapshot("t", 2, "half an answer", ""), DONE_EVENT)
    assert list(read_events(stream)) == ["half", " an answer", "[DONE]"]


async def test_typed_events_end_with_done_too() -> None:
    stream = b"".join([frame async for frame in event_frames(follow([*texts("a\nb"), DONE_EVENT]))])
    text, done, end = read_events(stream)
    assert text.startswith('{"type":"text"')
    assert done.startswith('{"type":"done"')
    assert end == "[DONE]"
