"""Every way in which a model server was seen to fail has its own error, and says what to do."""

import asyncio
import contextlib
import gzip
import socket
from dataclasses import replace

import pytest

from parley.chat.deltas import Text
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from parley.chat.models import HealthState
from providers.config import Deadlines
from providers.openai_compatible import OpenAICompatible
from tests.fakes.model_server import (
    DONE,
    Reply,
    Step,
    answer,
    body,
    chunk,
    close_delimited,
    cut,
    drip,
    event,
    finish,
    hang,
    json_reply,
    model_server,
    raw,
    reset,
    sse,
    wait,
)
from tests.services import find_free_port
from tests.unit.providers.support import (
    LONG,
    REQUEST,
    answered,
    connection,
    late,
    outcome_of,
    served,
)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that Parley is served on: they close and break sockets in different ways."""
    return "asyncio", {"use_uvloop": request.param}


HTML = "<html><head><title>502 Bad\nGateway</title></head></html>"
GARBLED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nnot a length\r\n"
)
TGI_CHAT = {"message": "Model is overloaded", "http_status_code": 422}


def said(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", **fields}}


def error_event(data: bytes) -> bytes:
    return b"event: error\ndata: " + data + b"\n\n"


REFUSED: dict[str, tuple[Reply, type[ProviderError], str]] = {
    "401, empty": (body(b"", "text/plain", 401), CredentialsRefused, "wants a key, and none is set (401). Set OPENAI_API_KEY."),
    "401, Kong": (json_reply({"message": "No API key found in request"}, 401), CredentialsRefused, "No API key found in request"),
    "400, Cloudflare": (json_reply({"success": False, "errors": [{"code": 5007, "message": "No such model"}]}, 400), RequestRefused, "No such model"),
    "403": (json_reply(said("no such project"), 403), CredentialsRefused, "no such project"),
    "400 about the key, Gemini": (json_reply([said("API key not valid.")], 400), CredentialsRefused, "Set OPENAI_API_KEY"),
    "404, no such model": (json_reply(said("The model `x` does not exist", code="model_not_found"), 404), ModelMissing, "Check OPENAI_MODEL"),
    "400, no such model": (json_reply(said("Model x was not found"), 400), ModelMissing, "Check OPENAI_MODEL"),
    "404, wrong address": (json_reply({"detail": "Not Found"}, 404), RequestRefused, "nothing is at this address (Not Found). Check OPENAI_BASE_URL"),
    "404, nothing said": (body(b"", "text/plain", 404), RequestRefused, "no body"),
    "400, context": (json_reply(said("This model's maximum context length is 8192 tokens."), 400), ContextOverflow, "8192 tokens. Shorten"),
    "400, context, by code": (json_reply(said("Too long", code="context_length_exceeded"), 400), ContextOverflow, "Too long"),
    "400, context, llama.cpp": (json_reply(said("request (18014 tokens) exceeds the available context size"), 400), ContextOverflow, "18014"),
    "422, context, TGI": (json_reply({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048", "error_type": "validation"}, 422), ContextOverflow, "2048"),
    "400, filter": (json_reply(said("The response was filtered", code="content_filter"), 400), ContentFiltered, "Rephrase"),
    "400": (json_reply(said("bad temperature"), 400), RequestRefused, "bad temperature"),
    "422, plain text": (body(b"Failed to deserialize\x00 the\r\nJSON", "text/plain", 422), RequestRefused, "Failed to deserialize the JSON"),
    "422, details": (json_reply({"detail": [{"loc": ["body"], "msg": "field required"}]}, 422), RequestRefused, "field required"),
    "413": (body(b"", "text/plain", 413), RequestRefused, "(413)"),
    "408": (body(b"", "text/plain", 408), Overloaded, "(408)"),
    "424, TGI": (json_reply({"error": "Request failed during generation", "error_type": "generation"}, 424), ProviderFault, "during generation"),
    "429": (json_reply(said("slow down", code="rate_limit_exceeded"), 429, {"Retry-After": "7"}), Overloaded, "slow down"),
    "500": (json_reply({"error": None}, 500), ProviderFault, "failed (500)"),
    "502, HTML": (body(HTML.encode(), "text/html", 502), ProviderFault, "502 Bad Gateway"),
    "503, HTML": (body(b"<p>busy</p>", "text/html", 503), Overloaded, "a web page"),
    "529": (json_reply({"error": {"type": "overloaded"}}, 529), Overloaded, "overloaded"),
    "redirect": (body(b"", "text/plain", 307, {"Location": "http://127.0.0.1:1/"}), RequestRefused, "it redirects"),
    "refusal cut off": (Reply((b"half", cut), 400), RequestRefused, "(400)"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_refusal_is_typed(reply: Reply, error: type[ProviderError], words: str) -> None:
    outcome = await answered(reply)
    assert outcome.deltas == []
    assert type(outcome.error) is error
    assert words in outcome.error.message
    assert (outcome.error.upstream_status, outcome.error.provider) == (reply.status, "openai")


IN_STREAM: dict[str, tuple[bytes, type[ProviderError], str]] = {
    "OpenAI": (event({"error": {"message": "The server had an error", "type": "server_error", "code": None}}), ProviderFault, "The server had an error"),
    "OpenAI, rate": (event(said("slow down", code="rate_limit_exceeded")), Overloaded, "slow down"),
    "TGI chat, overloaded": (event({"error": TGI_CHAT}) + DONE, Overloaded, "Model is overloaded"),
    "TGI chat, other": (event({"error": {"message": "odd", "http_status_code": 422}}) + DONE, RequestRefused, "odd"),
    "TGI chat, generation": (event({"error": {"message": "Request failed during generation: CUDA", "http_status_code": 422}}), ProviderFault, "CUDA"),
    "TGI, overloaded": (event({"error": "Model is overloaded", "error_type": "overloaded"}), Overloaded, "Model is overloaded"),
    "TGI, incomplete": (event({"error": "Incomplete generation", "error_type": "incomplete_generation"}), ProviderFault, "Incomplete"),
    "TGI, validation": (event({"error": "Input validation error: x", "error_type": "validation"}), RequestRefused, "x"),
    "vLLM": (event({"error": {"object": "error", "message": "maximum context length", "type": "BadRequestError", "code": 400}}), ContextOverflow, "maximum context length"),
    "vLLM, older": (event({"object": "error", "message": "out of memory", "type": "InternalServerError", "code": 500}), ProviderFault, "out of memory"),
    "a gateway": (event({"message": "out of quota", "code": 429}), Overloaded, "out of quota"),
    "by status": (event({"error": {"message": "?", "code": "503"}}), Overloaded, "?"),
    "a string": (event("it broke"), ProviderFault, "it broke"),
    "error is a string": (event({"error": "it broke"}), ProviderFault, "it broke"),
    "Gemini's list": (event([said("it broke", type="x", status="UNAVAILABLE")]), ProviderFault, "it broke"),
    "error beside choices": (event({"choices": [], "error": {"message": "it broke"}}), ProviderFault, "it broke"),
    "event: error": (error_event(b'{"message":"x","error":{"message":"it broke"}}'), ProviderFault, "it broke"),
    "event: error, plain object": (error_event(b'{"message":"it broke"}'), ProviderFault, "it broke"),
    "error of no known shape": (event({"choices": [], "error": 5}), ProviderFault, "failed"),
    "event: error, text": (error_event(b"it broke"), ProviderFault, "it broke"),
    "event: error, nothing": (error_event(b"{}"), ProviderFault, "failed"),
    "malformed JSON": (b"data: {nope}\n\n", ProtocolViolation, "not a chunk"),
    "no object": (b"data: [1]\n\n", ProtocolViolation, "not a chunk"),
    "not UTF-8": (chunk("é").replace("é".encode(), b"\xff"), ProtocolViolation, "not a chunk"),
    "too large": (b"data: " + b"x" * (4 * 2**20 + 1), ProtocolViolation, "4194304 bytes, which max_event_bytes allows"),
}  # fmt: skip


@pytest.mark.parametrize(("wire", "error", "words"), IN_STREAM.values(), ids=IN_STREAM.keys())
async def test_error_in_the_stream_is_typed(
    wire: bytes, error: type[ProviderError], words: str
) -> None:
    outcome = await answered(sse(chunk("a"), wire))
    assert outcome.deltas == [Text("a")]
    assert type(outcome.error) is error
    assert words in outcome.error.message
    assert outcome.error.streamed, "text had reached the caller"


BROKEN: dict[str, tuple[Reply, type[ProviderError]]] = {
    "FIN before the status": (raw(cut), BrokenStream),
    "RST before the status": (raw(reset), BrokenStream),
    "garbled within a body": (raw(GARBLED, hang), ProtocolViolation),
    "not HTTP": (raw(b"SSH-2.0-OpenSSH_9\r\n\r\n", hang), ProtocolViolation),
    "empty stream": (sse(), BrokenStream),
    "empty stream to its close": (close_delimited(), BrokenStream),
    "empty document": (body(b"", "application/json"), ProtocolViolation),
    "nothing at all": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", hang), BrokenStream),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), BrokenStream),
    "DONE alone": (sse(DONE), BrokenStream),
    "DONE after a role": (sse(event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}), DONE), BrokenStream),
    "comments only": (sse(b": hello\n\n"), BrokenStream),
    "web page": (body(HTML.encode(), "text/html"), ProtocolViolation),
    "web page without a type": (close_delimited(HTML.encode()), BrokenStream),
    "document of another kind": (json_reply({"hello": "world"}), ProtocolViolation),
    "document that is an error": (json_reply(said("slow down", code="rate_limit")), Overloaded),
    "malformed document": (body(b"{", "application/json"), ProtocolViolation),
    "document over the limit": (body(b" " * (4 * 2**20 + 1), "application/json"), ProtocolViolation),
    "malformed gzip": (body(b"never zipped", "text/event-stream", 200, {"Content-Encoding": "gzip"}), BrokenStream),
    "FIN within a body": (sse(chunk("a"), cut), BrokenStream),
    "RST within a body": (sse(chunk("a"), reset), BrokenStream),
    "close in place of an end": (close_delimited(chunk("a")), BrokenStream),
    "close within an event": (close_delimited(chunk("a"), chunk("b")[:40]), BrokenStream),
    "clean end without a finish reason": (sse(chunk("a")), BrokenStream),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "error"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_answer_is_typed(reply: Reply, error: type[ProviderError]) -> None:
    outcome = await answered(reply)
    assert type(outcome.error) is error
    assert outcome.error.streamed == bool(outcome.deltas)
    assert not {"400,", "Errno", "payload"} & set(outcome.error.message.split())


@pytest.mark.parametrize("end", [cut, reset])
async def test_text_ahead_of_a_cut_is_given(end: Step) -> None:
    read = asyncio.Event()
    async with (
        served(sse(chunk("a"), wait(read), end)) as (provider, _),
        provider.stream(REQUEST) as stream,
    ):
        assert await anext(stream) == Text("a")
        read.set()
        with pytest.raises(BrokenStream) as caught:
            await anext(stream)
    assert caught.value.streamed


async def test_complete_answer_ahead_of_a_cut_is_complete() -> None:
    """The server closes without the last HTTP chunk, and the consumer is busy meanwhile."""
    read = asyncio.Event()
    reply = sse(chunk("a"), wait(read), *answer("b"), cut)
    async with served(reply) as (provider, server), provider.stream(REQUEST) as stream:
        assert await anext(stream) == Text("a")
        read.set()
        await provider.health()  # a round trip, in which the rest and the cut arrive
        assert [type(delta).__name__ async for delta in stream] == ["Text", "Usage", "Finish"]
        assert not server.left.is_set()


@pytest.mark.parametrize("end", [cut, reset])
async def test_cut_after_the_finish_reason_is_an_end(end: Step) -> None:
    read = asyncio.Event()
    async with (
        served(sse(chunk("a"), finish(), wait(read), end)) as (provider, _),
        provider.stream(REQUEST) as stream,
    ):
        assert await anext(stream) == Text("a")
        read.set()
        assert [type(delta).__name__ async for delta in stream] == ["Finish"]


LATE: dict[str, tuple[Reply, str]] = {
    "before the status": (raw(hang), "first_event"),
    "before the first event": (sse(hang), "first_event"),
    "keepalives before the first event": (sse(drip()), "first_event"),
    "in the middle": (sse(chunk("a"), hang), "idle"),
    "keepalives in the middle": (sse(chunk("a"), drip()), "idle"),
    "byte for byte": (sse(chunk("a"), drip(b"d")), "idle"),
    "empty data in the middle": (sse(chunk("a"), drip(b"data:\n\n")), "idle"),
    "flood of keepalives": (sse(chunk("a"), drip(b": keepalive\n\n" * 5000, every_s=0)), "idle"),
    "document that does not come": (Reply((b"{", hang), headers={"Content-Type": "application/json"}), "first_event"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "phase"), LATE.values(), ids=LATE.keys())
async def test_silence_has_a_deadline(reply: Reply, phase: str) -> None:
    async with served(reply, deadlines=late(phase)) as (provider, server):
        outcome = await outcome_of(provider)
        if server.requests:  # else all of this process stood still until the deadline had passed
            await server.left.wait()
    assert isinstance(outcome.error, TimedOut)
    assert (outcome.error.phase, outcome.error.streamed) == (phase, phase == "idle")


async def test_answer_has_a_total_deadline() -> None:
    deadlines = late("total", 1)
    outcome = await answered(sse(drip(chunk("a"))), deadlines=deadlines)
    assert isinstance(outcome.error, TimedOut)
    assert (outcome.error.phase, outcome.deltas[0]) == ("total", Text("a"))
    before = await answered(raw(hang), deadlines=deadlines)
    assert isinstance(before.error, TimedOut)
    assert before.error.phase == "total"


async def test_pool_without_a_free_connection_is_our_own_limit() -> None:
    async with model_server(sse(chunk("a"), hang)) as server:
        deadlines = replace(LONG, connect_s=0.2, first_event_s=1)
        one = replace(connection(server.base_url, deadlines=deadlines), max_connections=1)
        provider = OpenAICompatible(one)
        async with provider.stream(REQUEST) as stream:
            await anext(stream)
            outcome = await outcome_of(provider)
            health = await provider.health()
        await provider.aclose()
    assert isinstance(outcome.error, Overloaded)
    assert "all 1 connections to it are in use" in outcome.error.message
    assert health.state is HealthState.DEGRADED


async def test_address_that_takes_no_connection_is_to_be_checked() -> None:
    # A queue for one, which is taken: what comes after it is not answered.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
            deadlines = replace(LONG, connect_s=0.2)
            place = connection(f"http://127.0.0.1:{address[1]}/v1", deadlines=deadlines)
            provider = OpenAICompatible(place)
            outcome = await outcome_of(provider)
            await provider.aclose()
    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.phase == "connect"
    advice = "Check OPENAI_BASE_URL, and that the server runs, or raise the deadlines."
    assert outcome.error.message.endswith(advice)


async def test_slow_consumer_is_not_an_idle_server() -> None:
    deadlines = Deadlines(idle_s=0)
    async with (
        served(sse(b"".join(answer("a", "b"))), deadlines=deadlines) as (provider, _),
        provider.stream(REQUEST) as stream,
    ):
        assert [type(delta).__name__ async for delta in stream] == [
            "Text",
            "Text",
            "Usage",
            "Finish",
        ]


async def test_refused_connection_is_unreachable() -> None:
    port = find_free_port()
    provider = OpenAICompatible(connection(f"http://127.0.0.1:{port}/v1"))
    outcome = await outcome_of(provider)
    await provider.aclose()
    assert type(outcome.error) is Unreachable
    assert "cannot be reached: Connection refused. Check OPENAI_BASE_URL" in outcome.error.message
    assert "127.0.0.1" not in outcome.error.message, "an address behind ours is nobody's who chats"
    assert f": 127.0.0.1:{port}, Connection refused." in outcome.error.for_log
    assert outcome.error.for_operator == outcome.error.for_log


@pytest.mark.parametrize("url", ["localhost/v1", "ftp://a/v1", "http://no-such-host.invalid/v1"])
async def test_address_that_leads_nowhere_is_unreachable(url: str) -> None:
    provider = OpenAICompatible(connection(url))
    assert type((await outcome_of(provider)).error) is Unreachable
    await provider.aclose()


async def test_closed_provider_says_so() -> None:
    async with served(sse(chunk("a"), hang)) as (provider, _), provider.stream(REQUEST) as stream:
        await anext(stream)
        await provider.aclose()
        with pytest.raises(BrokenStream):
            await anext(stream)
        assert type((await outcome_of(provider)).error) is Unreachable


async def test_gzip_is_read() -> None:
    packed = gzip.compress(b"".join(answer("a")))
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    assert (await answered(Reply((packed,), headers=headers))).text == "a"
