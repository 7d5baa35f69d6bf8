"""OpenAI's dialect is written as documented, and read as servers really speak it."""

from dataclasses import replace

import pytest

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import ProviderFault
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, Health, HealthState, ModelInfo, Sampling
from parley.chat.usage import Usage
from providers.openai_compatible import OpenAICompatible, base_url
from providers.openai_request import COMPATIBLE, OPENAI, render
from tests.fakes.model_server import (
    DONE,
    KEEPALIVE,
    Step,
    answer,
    chunk,
    close_delimited,
    completion,
    delta,
    drip,
    event,
    finish,
    hang,
    json_reply,
    model_server,
    sse,
    usage,
)
from tests.unit.providers.support import LONG, REQUEST, answered, connection, outcome_of, served

STOP = Finish(FinishReason.STOP, "stop")
USAGE = Usage(3, 2)
HI = "".join(map(bytes.decode, answer("Hé", "\u2028y\u0085")))


def call(arguments: object, **fields: object) -> dict[str, object]:
    return {**fields, "function": {"name": fields.pop("name", None), "arguments": arguments}}


# Each stream says "Hé\u2028y\u0085", however it is put on the wire.
WIRES: dict[str, tuple[bytes, ...]] = {
    "as it should be": (HI.encode(),),
    "keepalives": (KEEPALIVE, chunk("Hé"), KEEPALIVE * 3, *answer("\u2028y\u0085")),
    "events without data": (b"event: ping\n\nretry: 3\n\n", HI.encode(), b"id: 3\n\n"),
    "CRLF": (HI.replace("\n", "\r\n").encode(),),
    "lone CR": (HI.replace("\n", "\r").encode(),),
    "no space": (HI.replace("data: ", "data:").encode(),),
    "one byte a packet": tuple(bytes([byte]) for byte in HI.encode()),
    "byte order mark": (b"\xef\xbb\xbf", HI.encode()),
    "many lines of data": (HI.replace('"object"', '\ndata: "object"').encode(),),
    "no final blank line": (HI.encode().rstrip(b"\n"),),
    "escaped": (HI.encode("ascii", "backslashreplace").replace(rb"\xe9", rb"\u00e9").replace(rb"\x85", rb"\u0085"),),
    "empty data": (b"data:\n\ndata: \n\n", HI.encode()),
    "unknown events": (event({}), event({"choices": None}), event({"type": "ping"}), HI.encode()),
    "choices empty first": (event({"choices": [], "prompt_filter_results": []}), HI.encode()),
    "delta missing or null": (event({"choices": [{"index": 0}]}), delta(None), HI.encode()),
    "content null or empty": (delta({"role": "assistant", "content": None}), chunk(""), HI.encode()),
    "content in parts": (delta({"content": [{"type": "text", "text": "H"}, "é", {"type": "x"}]}), delta({"content": [{"type": "x"}]}), *answer("\u2028y\u0085")),
    "finish reason empty": (delta({"content": "Hé"}, ""), *answer("\u2028y\u0085")),
    "after the end": (HI.encode(), chunk("never seen")),
    "a second choice, in chunks of its own": (chunk("Hé"), event({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}), *answer("\u2028y\u0085")),
    "a second choice, listed first": (event({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "Hé"}}]}), *answer("\u2028y\u0085")),
    "index counted from one": tuple(piece.replace(b'"index": 0', b'"index": 1') for piece in answer("Hé", "\u2028y\u0085")),
    "index null": tuple(piece.replace(b'"index": 0', b'"index": null') for piece in answer("Hé", "\u2028y\u0085")),
    "text beside no delta": (event({"choices": [{"text": "Hé"}]}), *answer("\u2028y\u0085")),
}  # fmt: skip


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
async def test_wire_is_read(wire: tuple[bytes, ...]) -> None:
    outcome = await answered(sse(*wire))
    assert outcome.error is None
    assert outcome.text == "Hé\u2028y\u0085"
    assert outcome.deltas[-2:] == [USAGE, STOP]


READINGS: dict[str, tuple[tuple[bytes, ...], list[Delta]]] = {
    "no usage sent, none given": ((chunk("a"), finish(), DONE), [Text("a"), STOP]),
    "a usage below nothing is none": ((event({"choices": [], "usage": {"prompt_tokens": -1, "completion_tokens": 2}}), finish(), DONE), [STOP]),
    "half a usage is none": ((event({"choices": [], "usage": {"prompt_tokens": 3}}), finish(), DONE), [STOP]),
    "usage with details": (
        (finish(), event({"usage": {
            "prompt_tokens": 3, "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 1},
            "prompt_tokens_details": {"cached_tokens": 0},
        }}), DONE),
        [Usage(3, 2, reasoning_tokens=1, cached_tokens=0), STOP],
    ),
    "usage on the finish chunk, no DONE": (
        (event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),),
        [USAGE, STOP],
    ),
    "the last usage counts": ((usage(3, 1), usage(3, 2), event({"choices": [], "usage": None}), finish(), DONE), [USAGE, STOP]),
    "DONE without a finish reason": ((chunk("a"), DONE), [Text("a"), Finish(FinishReason.UNKNOWN)]),
    "reasoning_content": ((delta({"reasoning_content": "hm", "content": "a"}), finish(), DONE), [Reasoning("hm"), Text("a"), STOP]),
    "reasoning": ((delta({"reasoning": "hm"}), delta({"reasoning": {"no": "text"}}), finish(), DONE), [Reasoning("hm"), STOP]),
    "tool calls with an index": (
        (
            delta({"tool_calls": [call("", index=1, id="b", name="g")]}),
            delta({"tool_calls": [call("{}", index=1)]}),
            finish("tool_calls"), DONE,
        ),
        [ToolCallDelta(1, "b", "g", ""), ToolCallDelta(1, None, None, "{}"), Finish(FinishReason.TOOL_CALLS, "tool_calls")],
    ),
    "tool calls without an index": (
        (
            delta({"tool_calls": [call("{", id="a", name="f"), call("}"), call("{}", id="b", name="g")]}),
            finish(), DONE,
        ),
        [ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(0, None, None, "}"), ToolCallDelta(1, "b", "g", "{}"), STOP],
    ),
    "tool calls without an index, each piece with its id": (
        (
            delta({"tool_calls": [call("{", id="a", name="f")]}),
            delta({"tool_calls": [call("}", id="a")]}),
            delta({"tool_calls": [call("{}", id="b", name="f")]}),
            finish(), DONE,
        ),
        [ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(0, "a", None, "}"), ToolCallDelta(1, "b", "f", "{}"), STOP],
    ),
    "refusal in place of JSON": (
        (delta({"role": "assistant", "content": None, "refusal": None}), delta({"refusal": "I will "}), delta({"refusal": "not."}), finish(), DONE),
        [Text("I will "), Text("not."), STOP],
    ),
    "thinking in parts, Mistral": (
        (
            delta({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
            delta({"content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "a"}]}),
            delta({"content": "b"}), finish(), DONE,
        ),
        [Reasoning("hm"), Reasoning("so"), Text("a"), Text("b"), STOP],
    ),
    "tool call with what Gemini wants back": (
        (delta({"tool_calls": [call("{}", id="a", name="f", extra_content={"google": {"thought_signature": "s"}})]}), finish(), DONE),
        [ToolCallDelta(0, "a", "f", "{}", '{"google":{"thought_signature":"s"}}'), STOP],
    ),
    "tool call as a bare object": (
        (delta({"tool_calls": call({"x": 1}, index=0, id="0", name="f")}), delta({"tool_calls": {"index": 0}}), finish(), DONE),
        [ToolCallDelta(0, "0", "f", '{"x":1}'), ToolCallDelta(0, None, None, ""), STOP],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("wire", "deltas"), READINGS.values(), ids=READINGS.keys())
async def test_wire_gives_deltas(wire: tuple[bytes, ...], deltas: list[Delta]) -> None:
    outcome = await answered(sse(*wire))
    assert (outcome.error, outcome.deltas) == (None, deltas)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos_token", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("max_tokens", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something_new", FinishReason.UNKNOWN),
    ],
)
async def test_finish_reasons_are_one_set(raw: str, reason: FinishReason) -> None:
    assert (await answered(sse(finish(raw), DONE))).deltas == [Finish(reason, raw)]


@pytest.mark.parametrize("raw", ["abort", "error", "insufficient_system_resource"])
@pytest.mark.parametrize("said", [(), (chunk("a"),)], ids=["nothing", "text"])
async def test_answer_that_was_given_up_is_no_end(raw: str, said: tuple[bytes, ...]) -> None:
    outcome = await answered(sse(*said, finish(raw), usage(3, 2), DONE))
    assert isinstance(outcome.error, ProviderFault)
    assert outcome.error.streamed == bool(said)
    assert raw in outcome.error.message


async def test_document_is_read_as_an_answer() -> None:
    outcome = await answered(json_reply(completion("Hello")))
    assert outcome.deltas == [Text("Hello"), USAGE, STOP]


async def test_document_without_a_finish_reason_is_complete() -> None:
    outcome = await answered(json_reply({"choices": [{"message": {"content": "a"}}]}))
    assert outcome.deltas == [Text("a"), Finish(FinishReason.UNKNOWN)]


async def test_two_megabytes_in_one_event() -> None:
    assert len((await answered(sse(*answer("x" * 2_000_000)))).text) == 2_000_000


async def test_end_of_body_after_the_finish_reason_is_an_end() -> None:
    assert (await answered(close_delimited(chunk("a"), finish()))).deltas == [Text("a"), STOP]


@pytest.mark.parametrize("held", [hang, drip()], ids=["silent", "keepalives"])
async def test_server_that_holds_a_finished_stream_is_left(held: Step) -> None:
    deadlines = replace(LONG, after_finish_s=0.05)
    reply = sse(chunk("a"), finish(), usage(), held)
    async with served(reply, deadlines=deadlines) as (provider, server):
        assert (await outcome_of(provider)).deltas == [Text("a"), USAGE, STOP]
        await server.left.wait()


async def test_request_says_only_what_is_set() -> None:
    async with served(sse(*answer("a"))) as (provider, server):
        await outcome_of(provider)
    assert server.requests[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_sampling_is_sent_over_the_defaults() -> None:
    async with model_server(sse(*answer("a"))) as server:
        defaults = Sampling(max_tokens=9, temperature=0.5)
        provider = OpenAICompatible(connection(server.base_url), defaults)
        asked = Sampling(temperature=0.0, top_p=0.9, stop=("x",), seed=7)
        messages = (Message.of(Role.SYSTEM, "Be brief."), Message.of(Role.USER, "Hi"))
        await outcome_of(provider, CompletionRequest("m", messages, asked))
        await provider.aclose()
    sent = server.requests[0].json
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]
    assert {
        name: sent[name] for name in ("max_tokens", "temperature", "top_p", "stop", "seed")
    } == {
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 7,
    }


@pytest.mark.parametrize(
    "url",
    [
        "http://a/v1",
        "http://a/v1/",
        " http://a/v1// ",
        "http://a//v1",
        "http://a/v1/chat/completions/",
        "http://a/v1//chat/completions",
        "http://a/v1/models",
        "http://a/v1/completions",
    ],
)
def test_base_url_takes_what_people_paste(url: str) -> None:
    assert base_url(url) == "http://a/v1"


def test_base_url_of_azure_is_left_alone() -> None:
    assert base_url("https://x.services.ai.azure.com/models/").endswith(".com/models")


async def test_models_are_listed_in_order() -> None:
    async with served() as (provider, server):
        listed = [{"id": "b", "max_model_len": 4096}, {"id": "a", "owned_by": "x"}]
        server.routes["GET /v1/models"] = json_reply({"object": "list", "data": listed})
        models: list[ModelInfo] = list(await provider.models())
        assert await provider.health() == Health(HealthState.OK)
    assert [model.id for model in models] == ["openai:b", "openai:a"]
    assert [model.capabilities.context_window for model in models] == [4096, None]


@pytest.mark.parametrize(
    ("meta", "window"),
    [
        ({"n_vocab": 32000, "n_ctx": 2048, "n_ctx_train": 131072}, 2048),
        ({"n_ctx_train": 131072}, 131072),
        ({"n_ctx": 0}, None),
        ({"n_ctx": "many"}, None),
        ("any", None),
        (None, None),
    ],
)
async def test_window_of_llama_cpp_is_the_running_servers(meta: object, window: int | None) -> None:
    async with served() as (provider, server):
        listed = {"object": "list", "data": [{"id": "m", "meta": meta}]}
        server.routes["GET /v1/models"] = json_reply(listed)
        (model,) = await provider.models()
    assert model.capabilities.context_window == window


async def test_health_says_what_is_wrong() -> None:
    async with served() as (provider, server):
        assert (await provider.health()).state is HealthState.DEGRADED, (
            "no list, it may still answer"
        )
        server.routes["GET /v1/models"] = json_reply({"data": "none"})
        assert "a list of models that is none" in (await provider.health()).reason
        server.routes["GET /v1/models"] = json_reply({}, 401)
        refused = await provider.health()
    assert refused.state is HealthState.DOWN
    assert "Set OPENAI_API_KEY" in refused.reason
    assert (await provider.health()).state is HealthState.DOWN, "and nobody listens any more"


def test_openai_itself_gets_its_own_word_for_the_length() -> None:
    """Its reasoning models refuse `max_tokens`; elsewhere nothing else is known everywhere."""
    request = replace(REQUEST, sampling=Sampling(max_tokens=9))
    assert render(request, Sampling(), OPENAI)["max_completion_tokens"] == 9
    assert render(request, Sampling(), COMPATIBLE)["max_tokens"] == 9
