"""Frames are the same whatever the cut of the network, and as the standard says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.frames import Frame, FrameReader, OversizedEvent, WholeBody

STREAMS: dict[str, tuple[bytes, list[Frame]]] = {
    "line feeds": (b"data: a\n\ndata: b\n\n", [Frame(b"a"), Frame(b"b")]),
    "carriage returns and line feeds": (b"data: a\r\n\r\ndata: b\r\n\r\n", [Frame(b"a"), Frame(b"b")]),
    "lone carriage returns": (b"data: a\r\rdata: b\r\r", [Frame(b"a"), Frame(b"b")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\rdata: c\r\r\n", [Frame(b"a"), Frame(b"b"), Frame(b"c")]),
    "many blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [Frame(b"a"), Frame(b"b")]),
    "no space": (b"data:a\n\ndata:[DONE]\n\n", [Frame(b"a"), Frame(b"[DONE]")]),
    "one space only is taken away": (b"data:  a\n\n", [Frame(b" a")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [Frame(b"a")]),
    "byte order mark later is a letter": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Frame(b"a")]),
    "byte order mark begun": (b"\xef\xbbdata: a\n\ndata: b\n\n", [Frame(b"b")]),
    "comments": (b": keepalive\n\n:\n\n: x\ndata: a\n: y\n\n", [Frame(b"a")]),
    "many lines of data": (b"data: a\ndata\ndata: c\n\n", [Frame(b"a\n\nc")]),
    "empty data": (b"data:\n\ndata\n\n", [Frame(b""), Frame(b"")]),
    "event without data": (b"event: ping\n\nid: 7\n\nretry: 10\n\ndata: a\n\n", [Frame(b"a")]),
    "event type, id and retry": (b"event: error\nid: 7\nretry: 1\ndata: a\n\ndata: b\n\n", [Frame(b"a", "error"), Frame(b"b")]),
    "unknown field": (b"name: x\ndata: a\n\n", [Frame(b"a")]),
    "colon in the data": (b"data: a: b\n\n", [Frame(b"a: b")]),
    "no final blank line": (b"data: a\n\ndata: b\n", [Frame(b"a"), Frame(b"b")]),
    "no final line end": (b"data: a\n\ndata: b", [Frame(b"a"), Frame(b"b")]),
    "line separators of Unicode": ("data: a\u2028b\u2029c\u0085d\n\n".encode(), [Frame("a\u2028b\u2029c\u0085d".encode())]),
    "not UTF-8": (b"event: \xff\ndata: \xff\n\n", [Frame(b"\xff", "\ufffd")]),
    "nothing": (b"", []),
}  # fmt: skip


def read(*pieces: bytes) -> list[Frame]:
    reader = FrameReader()
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    return frames + reader.close()


@pytest.mark.parametrize(("stream", "frames"), STREAMS.values(), ids=STREAMS.keys())
def test_stream_gives_its_frames(stream: bytes, frames: list[Frame]) -> None:
    assert read(stream) == frames


@pytest.mark.parametrize(("stream", "frames"), STREAMS.values(), ids=STREAMS.keys())
def test_every_cut_gives_the_same(stream: bytes, frames: list[Frame]) -> None:
    for at in range(len(stream) + 1):
        assert read(stream[:at], stream[at:]) == frames
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == frames


LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b": c", b"event: e", b"\xef\xbb\xbf", b"x"]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"])


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(0, 200)))
def test_any_stream_cut_anywhere(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    bounds = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    assert read(*pieces) == read(stream)


def test_frame_comes_with_its_blank_line() -> None:
    reader = FrameReader()
    assert reader.feed(b"data: a\r\n") == []
    assert reader.feed(b"\r") == [Frame(b"a")], "the line feed of the pair need not be waited for"
    assert reader.feed(b"\ndata: b\r\n\r\n") == [Frame(b"b")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_event_over_the_limit_is_refused(size: int) -> None:
    stream = b"data: " + b"x" * 95 + b"\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    with pytest.raises(OversizedEvent):
        [reader.feed(piece) for reader in [FrameReader(max_bytes=100)] for piece in pieces]
    assert len([f for r in [FrameReader(max_bytes=101)] for p in pieces for f in r.feed(p)]) == 1


def test_large_event_is_read_in_small_pieces() -> None:
    stream = b"data: " + b"x" * 2_000_000 + b"\n\n"
    pieces = [stream[at : at + 1000] for at in range(0, len(stream), 1000)]
    assert [len(frame.data) for frame in read(*pieces)] == [2_000_000]


def test_whole_body_is_one_frame() -> None:
    body = WholeBody()
    assert body.feed(b'{"a":') == body.feed(b"1}") == []
    assert body.close() == [Frame(b'{"a":1}')]
    assert body.close() == WholeBody().close() == []


def test_whole_body_has_a_limit() -> None:
    with pytest.raises(OversizedEvent):
        WholeBody(max_bytes=3).feed(b"1234")
