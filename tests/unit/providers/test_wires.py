"""The failure matrix on every dialect that is not OpenAI's own: the same outcomes on each wire."""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import replace

import pytest

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import (
    BrokenStream,
    ContextOverflow,
    CredentialsRefused,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from parley.chat.usage import Usage
from tests.fakes.model_server import (
    KEEPALIVE,
    Reply,
    Step,
    body,
    close_delimited,
    cut,
    drip,
    hang,
    json_reply,
    raw,
    reset,
    sse,
    wait,
)
from tests.patience import PATIENCE_S
from tests.services import find_free_port
from tests.unit.providers.support import LONG, late, outcome_of
from tests.unit.providers.wires import ALL, ASKED, HUGGINGFACE, KEY, Wire, outcome, played

HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that Parley is served on: they close and break sockets in different ways."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=ALL, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen


def lines(data: bytes, end: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", end)


# Each says "Hé\u2028y\u0085", however it is put on the wire.
WIRINGS: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "as it should be": lambda said: (said,),
    "keepalives": lambda said: (KEEPALIVE * 2, said.replace(b"data: ", KEEPALIVE + b"data: ")),
    "events without data": lambda said: (b"event: ping\n\nretry: 3\n\n", said, b"id: 3\n\n"),
    "LF": lambda said: (lines(said, b"\n"),),
    "CRLF": lambda said: (lines(said, b"\r\n"),),
    "lone CR": lambda said: (lines(said, b"\r"),),
    "no space": lambda said: (said.replace(b"data: ", b"data:"),),
    "one byte a packet": lambda said: tuple(bytes([byte]) for byte in said),
    "byte order mark": lambda said: (b"\xef\xbb\xbf", said),
    "many lines of data": lambda said: (said.replace(b"data: {", b"data: {\ndata: "),),
    "no final blank line": lambda said: (said.rstrip(b"\r\n"),),
    "empty data": lambda said: (b"data:\n\ndata: \n\n", said),
    "fields that nobody knows": lambda said: (said.replace(b"data: {", b'data: {"novel": {"x": [1]}, '),),
}  # fmt: skip
USUAL = [Text("Hé"), Text("\u2028y\u0085"), Usage(3, 2)]


def texts(deltas: list[Delta]) -> list[Delta]:
    return [delta for delta in deltas if not isinstance(delta, Finish)]


@pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS.keys())
async def test_answer_is_read_however_it_is_wired(
    wire: Wire, wiring: Callable[[bytes], tuple[bytes, ...]]
) -> None:
    for framed in (sse, close_delimited):
        given = await outcome(wire, framed(*wiring(b"".join(wire.answer("Hé", "\u2028y\u0085")))))
        assert given.error is None
        assert texts(given.deltas) == USUAL
        assert isinstance(given.deltas[-1], Finish)
        assert given.deltas[-1].reason is FinishReason.STOP


async def test_event_of_two_megabytes_is_read(wire: Wire) -> None:
    given = await outcome(wire, sse(*wire.answer("é" * 2**20)))
    assert (len(given.text), given.error) == (2**20, None)


async def test_gzip_is_read(wire: Wire) -> None:
    packed = gzip.compress(b"".join(wire.answer("a")))
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    assert (await outcome(wire, Reply((packed,), headers=headers))).text == "a"


async def test_document_in_place_of_a_stream_is_read(wire: Wire) -> None:
    given = await outcome(wire, body(wire.document, "application/json"))
    assert (given.text, given.error) == ("Hi", None)


REFUSED: dict[str, tuple[Reply, type[ProviderError], str]] = {
    "401, empty": (body(b"", "text/plain", 401), CredentialsRefused, "does not accept the key (401). Check THE_KEY."),
    "403": (json_reply({"error": {"message": "no such project"}}, 403), CredentialsRefused, "no such project"),
    "413": (body(b"", "text/plain", 413), RequestRefused, "(413)"),
    "415, plain text": (body(b"Expected request with `Content-Type`", "text/plain", 415), RequestRefused, "Expected request"),
    "422, context": (json_reply({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000", "error_type": "validation"}, 422), ContextOverflow, "must be <= 2048. Given: 2000"),
    "429": (json_reply({"error": "Model is overloaded", "error_type": "overloaded"}, 429, {"Retry-After": "7"}), Overloaded, "Model is overloaded"),
    "424": (json_reply({"error": "Request failed during generation", "error_type": "generation"}, 424), ProviderFault, "during generation"),
    "500": (json_reply({"error": None}, 500), ProviderFault, "failed (500)"),
    "502, HTML": (body(HTML, "text/html", 502), ProviderFault, "502 Bad Gateway"),
    "503, HTML": (body(b"<p>busy</p>", "text/html", 503), Overloaded, "a web page"),
    "redirect": (body(b"", "text/plain", 307, {"Location": "http://127.0.0.1:1/"}), RequestRefused, "it redirects"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_refusal_is_typed(
    wire: Wire, reply: Reply, error: type[ProviderError], words: str
) -> None:
    given = await outcome(wire, reply)
    assert (type(given.error), given.deltas) == (error, [])
    assert given.error is not None
    assert words in given.error.message
    assert given.error.upstream_status == reply.status
    assert given.error.retry_after_s == (7 if reply.status == 429 else None)


async def test_overload_inside_a_stream_is_typed(wire: Wire) -> None:
    for said in ((), (wire.piece("a"),)):
        given = await outcome(wire, sse(*said, wire.overloaded))
        assert type(given.error) is Overloaded
        assert given.error.streamed == bool(said)
        assert "overloaded" in given.error.message


IN_STREAM: dict[str, tuple[bytes, type[ProviderError]]] = {
    "OpenAI's": (b'data: {"error": {"message": "it broke", "type": "server_error"}}\n\n', ProviderFault),
    "a string": (b'data: {"error": "it broke"}\n\n', ProviderFault),
    "a list": (b'data: [{"error": {"message": "it broke", "code": 500}}]\n\n', ProviderFault),
    "event: error": (b'event: error\ndata: {"message": "it broke"}\n\n', ProviderFault),
    "event: error, text": (b"event: error\ndata: it broke\n\n", ProviderFault),
    "malformed JSON": (b"data: {nope}\n\n", ProtocolViolation),
    "no object": (b"data: [1]\n\n", ProtocolViolation),
    "too large": (b"data: " + b"x" * (8 * 2**20 + 1), ProtocolViolation),
}  # fmt: skip


@pytest.mark.parametrize(("said", "error"), IN_STREAM.values(), ids=IN_STREAM.keys())
async def test_error_in_the_stream_is_typed(
    wire: Wire, said: bytes, error: type[ProviderError]
) -> None:
    given = await outcome(wire, sse(wire.piece("a"), said))
    assert given.deltas == [Text("a")]
    assert type(given.error) is error
    assert given.error.streamed
    assert ("it broke" in given.error.message) == (error is ProviderFault)


async def test_text_that_is_not_utf8_is_a_violation(wire: Wire) -> None:
    garbled = wire.piece("é").replace("é".encode(), b"\xff")
    given = await outcome(wire, sse(wire.piece("a"), garbled))
    assert (type(given.error), given.text) == (ProtocolViolation, "a")


BROKEN: dict[str, tuple[Callable[[bytes], Reply], type[ProviderError]]] = {
    "FIN before the status": (lambda _: raw(cut), BrokenStream),
    "RST before the status": (lambda _: raw(reset), BrokenStream),
    "not HTTP": (lambda _: raw(b"SSH-2.0-OpenSSH_9\r\n\r\n", hang), ProtocolViolation),
    "empty stream": (lambda _: sse(), BrokenStream),
    "comments only": (lambda _: sse(b": hello\n\n"), BrokenStream),
    "empty document": (lambda _: body(b"", "application/json"), ProtocolViolation),
    "web page": (lambda _: body(HTML, "text/html"), ProtocolViolation),
    "document of another kind": (lambda _: json_reply({"hello": "world"}), ProtocolViolation),
    "document that is an error": (lambda _: json_reply({"error": {"message": "rate limit"}}), Overloaded),
    "FIN within a body": (lambda piece: sse(piece, cut), BrokenStream),
    "RST within a body": (lambda piece: sse(piece, reset), BrokenStream),
    "close in place of an end": (close_delimited, BrokenStream),
    "close within an event": (lambda piece: close_delimited(piece, piece[:40]), BrokenStream),
    "clean end without an end": (sse, BrokenStream),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "error"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_answer_is_typed(
    wire: Wire, reply: Callable[[bytes], Reply], error: type[ProviderError]
) -> None:
    given = await outcome(wire, reply(wire.piece("a")))
    assert type(given.error) is error
    assert given.error.streamed == bool(given.deltas)


@pytest.mark.parametrize("end", [cut, reset, hang], ids=["FIN", "RST", "silence"])
async def test_answer_with_its_end_is_complete(wire: Wire, end: Step) -> None:
    read = asyncio.Event()
    deadlines = replace(LONG, after_finish_s=0.1)
    reply = sse(wire.piece("a"), wait(read), *wire.ends, end)
    async with (
        played(wire, reply, deadlines=deadlines) as (provider, _),
        provider.stream(ASKED) as stream,
    ):
        assert await anext(stream) == Text("a")
        read.set()
        assert [delta async for delta in stream if isinstance(delta, Finish)]


LATE: dict[str, tuple[Callable[[bytes], Reply], str]] = {
    "before the status": (lambda _: raw(hang), "first_event"),
    "before the first event": (lambda _: sse(hang), "first_event"),
    "keepalives before it": (lambda _: sse(drip()), "first_event"),
    "in the middle": (lambda piece: sse(piece, hang), "idle"),
    "keepalives in the middle": (lambda piece: sse(piece, drip()), "idle"),
    "byte for byte": (lambda piece: sse(piece, drip(b"d")), "idle"),
    "empty data before it": (lambda _: sse(drip(b"data:\n\n")), "first_event"),
    "empty data in the middle": (
        lambda piece: sse(piece, drip(b"event: ping\ndata: \n\n")),
        "idle",
    ),
}


@pytest.mark.parametrize(("reply", "phase"), LATE.values(), ids=LATE.keys())
async def test_silence_has_a_deadline(
    wire: Wire, reply: Callable[[bytes], Reply], phase: str
) -> None:
    async with played(wire, reply(wire.piece("a")), deadlines=late(phase)) as (provider, server):
        given = await outcome_of(provider, ASKED)
        if server.requests:  # else all of this process stood still until the deadline had passed
            await server.left.wait()
    assert isinstance(given.error, TimedOut)
    assert (given.error.phase, given.error.streamed) == (phase, phase == "idle")


async def test_answer_has_a_total_deadline(wire: Wire) -> None:
    deadlines = late("total", 1)
    given = await outcome(wire, sse(drip(wire.piece("a"))), deadlines=deadlines)
    assert isinstance(given.error, TimedOut)
    assert (given.error.phase, given.deltas[0]) == ("total", Text("a"))


async def test_refused_connection_is_unreachable(wire: Wire) -> None:
    gone = f"http://127.0.0.1:{find_free_port()}"
    provider = wire.opens(wire.connection(gone), ASKED.sampling)
    given = await outcome_of(provider, ASKED)
    health = await provider.health()
    await provider.aclose()
    assert type(given.error) is Unreachable
    assert "Check THE_URL" in given.error.message
    assert health.state == "down"


async def test_leaving_closes_the_socket(wire: Wire) -> None:
    async with played(wire, sse(wire.piece("a"), hang)) as (provider, server):
        async with provider.stream(ASKED) as stream:
            assert await anext(stream) == Text("a")
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()


@pytest.mark.parametrize("silent", [True, False])
async def test_cancel_while_reading_closes_the_socket(wire: Wire, *, silent: bool) -> None:
    reply = raw(hang) if silent else sse(wire.piece("a"), hang)
    async with played(wire, reply) as (provider, server):
        reading = asyncio.create_task(outcome_of(provider, ASKED))
        await server.asked.wait()
        reading.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_cancel_of_a_busy_consumer_closes_the_socket(wire: Wire) -> None:
    busy = asyncio.Event()

    async def consume() -> None:
        async with provider.stream(ASKED) as stream:
            async for _ in stream:
                busy.set()
                await asyncio.Event().wait()

    async with played(wire, sse(wire.piece("a"), hang)) as (provider, server):
        consuming = asyncio.create_task(consume())
        await busy.wait()
        consuming.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()
        await asyncio.gather(consuming, return_exceptions=True)


async def test_streams_use_one_connection(wire: Wire) -> None:
    async with played(wire, sse(*wire.answer("a", "b"))) as (provider, server):
        for _ in range(50):
            assert (await outcome_of(provider, ASKED)).text == "ab"
    assert (len(server.requests), server.connections) == (50, 1)


async def test_key_is_sent_and_never_shown(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    echoed = {"error": {"message": f"what is {KEY}?", "type": "invalid_api_key"}}
    async with played(wire, json_reply(echoed, 401)) as (provider, server):
        given = await outcome_of(provider, ASKED)
        shown = f"{given.error!r} {vars(provider)!r} {caplog.text}"
    sent = server.requests[0].headers
    assert KEY in sent.get("authorization", "") + sent.get("x-goog-api-key", "")
    assert "what is [key]?" in shown
    assert KEY not in shown


async def test_no_key_is_no_header(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    async with played(wire, sse(*wire.answer("a")), key=None) as (provider, server):
        assert (await outcome_of(provider, ASKED)).text == "a"
    assert not {"authorization", "x-goog-api-key"} & set(server.requests[0].headers)
    assert wire is not HUGGINGFACE or KEY not in str(server.requests[0].headers)
