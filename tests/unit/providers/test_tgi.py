"""TGI's dialect: its limits, its two wires and the way from one to the other, its errors."""

import asyncio
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from parley.chat.deltas import Finish, FinishReason, Text
from parley.chat.errors import (
    ContextOverflow,
    ModelMissing,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
)
from parley.chat.messages import Message, Role
from parley.chat.models import Capabilities, HealthState, ModelInfo, Sampling
from parley.chat.usage import Usage
from providers import tgi, tgi_frames
from tests.fakes import tgi_wire as wire
from tests.fakes.model_server import (
    DONE,
    ModelServer,
    Reply,
    body,
    json_reply,
    model_server,
    sse,
    tgi_tokens,
)
from tests.unit.providers.support import Outcome, outcome_of
from tests.unit.providers.test_model_server import with_nulls
from tests.unit.providers.wires import ASKED, TGI_CHAT, TGI_NATIVE, outcome, played

SCHEMA = Path(__file__).parents[2] / "fixtures" / "tgi-answers.schema.json"
STOP = Finish(FinishReason.STOP, "eos_token")
NO_TEMPLATE = json_reply(wire.NO_TEMPLATE, 422)


def payload(frame: bytes) -> Any:
    return json.loads(frame.removeprefix(b"data: "))


FRAMES = {
    "StreamResponse": [*wire.tokens("Hé"), wire.token("", end=wire.details("length"), said="")],
    "ChatCompletionChunk": [wire.chat_chunk("Hé"), wire.chat_chunk("", "stop"), wire.chat_usage()],
    "ErrorResponse": [wire.generation_error("Model is overloaded", "overloaded")],
    "Info": [b"data: " + json.dumps(wire.INFO).encode()],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_fake_frames_are_by_the_schema(kind: str) -> None:
    document = with_nulls(json.loads(SCHEMA.read_text()))
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{kind}", **document})
    for frame in FRAMES[kind]:
        validator.validate(payload(frame))


# --- what it says of itself -----------------------------------------------------------------------


async def test_info_gives_the_model_and_its_window() -> None:
    async with played(TGI_CHAT) as (provider, server):
        server.routes["GET /info"] = wire.info()
        label = str(wire.INFO["model_id"])
        capabilities = Capabilities(context_window=4096)
        expected = ModelInfo("tgi:tgi", "tgi", "tgi", label, capabilities)
        assert await provider.models() == [expected]
        assert isinstance(provider, tgi.TGI)
        assert await provider.limits() == tgi.Limits(label, 4096, 4095, 128)
    assert len(server.requests) == 1, "it is asked once"


async def test_older_info_names_the_input_otherwise() -> None:
    async with model_server() as server:
        server.routes["GET /info"] = json_reply({"model_id": "a/b", "max_input_length": 1024})
        provider = tgi.TGI(TGI_CHAT.connection(server.root))
        assert await provider.limits() == tgi.Limits("a/b", None, 1024, None)
        await provider.aclose()


async def test_info_of_another_server_is_a_violation() -> None:
    async with played(TGI_CHAT) as (provider, server):
        server.routes["GET /info"] = json_reply({"hello": "world"})
        with pytest.raises(ProtocolViolation, match=r"/info that is none of TGI's"):
            await provider.models()


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (body(b"", "text/plain"), HealthState.OK),
        (
            json_reply({"error": "unhealthy", "error_type": "healthcheck"}, 503),
            HealthState.DEGRADED,
        ),
        (wire.UNAUTHORIZED, HealthState.DOWN),
    ],
)
async def test_health_is_what_the_server_says(reply: Reply, state: HealthState) -> None:
    async with played(TGI_CHAT) as (provider, server):
        server.routes["GET /health"] = reply
        assert (await provider.health()).state is state


async def test_tokens_are_counted_by_the_server() -> None:
    async with played(TGI_CHAT) as (provider, server):
        server.routes["POST /tokenize"] = body(tgi_tokens("a", "b"), "application/json")
        tokenizer = provider.tokenizer("tgi")
        assert tokenizer is not None
        assert await tokenizer.count(["ab"]) is not None


@pytest.mark.parametrize(
    "pasted", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/generate_stream", "/generate"]
)
async def test_any_address_of_the_server_will_do(pasted: str) -> None:
    assert tgi.root_url(f"http://tgi:8080{pasted}") == "http://tgi:8080"


# --- chat -----------------------------------------------------------------------------------------


async def chatted(model: str = "tgi", **sampling: Any) -> tuple[Outcome, ModelServer]:
    async with played(TGI_CHAT, sse(*TGI_CHAT.answer("Hi"))) as (provider, server):
        server.routes["GET /info"] = wire.info()
        request = replace(ASKED, model=model, sampling=Sampling(**sampling))
        return await outcome_of(provider, request), server


@pytest.mark.parametrize(
    ("model", "sent"), [("tgi", "tgi"), (str(wire.INFO["model_id"]), "tgi"), ("my/lora", "my/lora")]
)
async def test_own_model_is_called_tgi(model: str, sent: str) -> None:
    """Another name is a LoRA adapter's, which most servers do not have."""
    given, server = await chatted(model)
    assert given.text == "Hi"
    assert server.requests[-1].path == "/v1/chat/completions"
    assert server.requests[-1].json["model"] == sent


async def test_name_is_sent_where_nothing_is_known() -> None:
    async with played(TGI_CHAT, sse(*TGI_CHAT.answer("Hi"))) as (provider, server):
        for _ in range(2):
            await outcome_of(provider, replace(ASKED, model="my/lora"))
    paths = [request.path for request in server.requests]
    assert paths == ["/info", "/v1/chat/completions", "/v1/chat/completions"]


async def test_chat_gets_what_is_set() -> None:
    _, server = await chatted(temperature=0, top_p=1, seed=7, stop=("x",), max_tokens=9)
    sent = server.requests[-1].json
    kept = {name: sent.get(name) for name in ("temperature", "seed", "stop", "max_tokens")}
    assert kept == {"temperature": 0, "seed": 7, "stop": ["x"], "max_tokens": 9}
    assert "top_p" not in sent, "TGI refuses 1, which is none"


@pytest.mark.parametrize(("raw", "reason"), [("length", FinishReason.LENGTH), ("stop_sequence", FinishReason.STOP), ("eos_token", FinishReason.STOP)])  # fmt: skip
async def test_finish_of_chat_is_mapped(raw: str, reason: FinishReason) -> None:
    given = await outcome(TGI_CHAT, sse(wire.chat_chunk("a"), wire.chat_chunk("", raw), DONE))
    assert given.deltas == [Text("a"), Finish(reason, raw)]


SAID: dict[str, tuple[str, str, type[ProviderError]]] = {
    "overloaded": ("Model is overloaded", "overloaded", Overloaded),
    "validation": ("Input validation error: `temperature` must be strictly positive", "validation", RequestRefused),
    "overflow": (wire.TOO_LONG, "validation", ContextOverflow),
    "too much input": ("Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "validation", ContextOverflow),
    "generation": ("Request failed during generation: Server error: CUDA out of memory", "generation", ProviderFault),
    "incomplete": ("Incomplete generation", "incomplete_generation", ProviderFault),
    "incomplete stream": ("Incomplete generation stream", "incomplete_generation_stream", ProviderFault),
    "tool": ("Tool error: Tool with name x not found", "tool_error", ProviderFault),
    "unknown": ("Something new", "something_new", ProviderFault),
}  # fmt: skip


@pytest.mark.parametrize(("said", "kind", "error"), SAID.values(), ids=SAID.keys())
async def test_native_error_is_typed(said: str, kind: str, error: type[ProviderError]) -> None:
    given = await outcome(TGI_NATIVE, sse(wire.token("a"), wire.generation_error(said, kind)))
    assert (type(given.error), given.text) == (error, "a")
    assert given.error is not None
    assert said[:60] in given.error.message


@pytest.mark.parametrize(("said", "kind", "error"), list(SAID.values())[:7], ids=list(SAID)[:7])
async def test_chat_error_is_typed_by_its_words(
    said: str, kind: str, error: type[ProviderError]
) -> None:
    """All of them say 422, and the stream goes on to its [DONE] as if it were well."""
    given = await outcome(TGI_CHAT, sse(wire.chat_error(said), DONE))
    assert (type(given.error), given.deltas) == (error, [])


async def test_overflow_has_the_numbers() -> None:
    for given in (
        await outcome(TGI_CHAT, sse(wire.chat_error(wire.TOO_LONG), DONE)),
        await outcome(TGI_NATIVE, sse(wire.generation_error(wire.TOO_LONG, "validation"))),
    ):
        assert given.error is not None
        for number in ("2048", "2000", "100"):
            assert number in given.error.message


# --- the native wire ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal", [NO_TEMPLATE, json_reply({}, 404), body(b"", "text/plain", 405)]
)
async def test_server_without_chat_is_asked_natively(refusal: Reply) -> None:
    native = sse(*wire.tokens("Hi"))
    async with played(TGI_CHAT, refusal, native, native) as (provider, server):
        for _ in range(2):
            given = await outcome_of(provider, ASKED)
            assert given.deltas == [Text("Hi"), Usage(3, 2), STOP]
    paths = [request.path for request in server.requests]
    assert paths == ["/v1/chat/completions", "/generate_stream", "/generate_stream"]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (json_reply({"error": "Template error: roles must alternate", "error_type": "template_error"}, 422), RequestRefused),
        (json_reply({"error": "The model `x` does not exist", "error_type": "x"}, 404), ModelMissing),
    ],
)  # fmt: skip
async def test_other_refusal_of_chat_is_an_error(
    refusal: Reply, error: type[ProviderError]
) -> None:
    async with played(TGI_CHAT, refusal) as (provider, server):
        assert type((await outcome_of(provider, ASKED)).error) is error
    assert len(server.requests) == 1


async def generated(*replies: Reply, **sampling: Any) -> tuple[Outcome, ModelServer]:
    async with played(TGI_NATIVE, *(replies or (sse(*wire.tokens("Hi")),))) as (provider, server):
        server.routes["GET /info"] = wire.info()
        server.routes["POST /tokenize"] = body(tgi_tokens("a", "b", "c"), "application/json")
        request = replace(ASKED, sampling=Sampling(**sampling))
        return await outcome_of(provider, request), server


def parameters(server: ModelServer) -> dict[str, Any]:
    sent = next(r for r in server.requests if r.path == "/generate_stream")
    chosen: dict[str, Any] = sent.json["parameters"]
    return chosen


async def test_native_request_is_by_its_types() -> None:
    _, server = await generated(temperature=0.5, top_p=0.9, seed=7, stop=("x",), max_tokens=9)
    assert server.requests[0].json["inputs"] == "Hello?"
    sent = parameters(server)
    assert (sent["temperature"], sent["top_p"], sent["do_sample"]) == (0.5, 0.9, True)
    assert (sent["seed"], sent["stop"], sent["max_new_tokens"]) == (7, ["x"], 9)
    assert sent["details"] is True, "without them there is no usage"


async def test_greedy_is_to_leave_out_the_temperature() -> None:
    _, server = await generated(temperature=0, top_p=1, max_tokens=9)
    sent = parameters(server)
    assert {"temperature", "top_p", "seed"}.isdisjoint(sent)
    assert sent["do_sample"] is False


async def test_length_is_what_fits_behind_the_prompt() -> None:
    _, server = await generated()
    assert 4000 < parameters(server)["max_new_tokens"] < 4096


async def test_length_is_short_where_nothing_is_told() -> None:
    async with played(TGI_NATIVE, sse(*wire.tokens("Hi"))) as (provider, server):
        await outcome_of(provider, replace(ASKED, sampling=Sampling()))
    assert parameters(server)["max_new_tokens"] == 512


async def test_bad_parameter_is_refused_before_it_is_sent() -> None:
    given, server = await generated(seed=-1, max_tokens=9)
    assert type(given.error) is RequestRefused
    assert "`seed` must be positive. Change that parameter." in given.error.message
    assert server.requests == []


async def test_transcript_is_written_for_a_model_without_roles() -> None:
    messages = (
        Message.of(Role.SYSTEM, "Be brief."),
        Message.of(Role.USER, "Hi"),
        Message.of(Role.ASSISTANT, "Hello."),
        Message.of(Role.USER, "Bye"),
    )
    assert tgi.prompt_of(messages) == (
        "Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Bye\n\nAssistant:"
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("eos_token", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
    ],
)
async def test_finish_of_a_generation_is_mapped(raw: str, reason: FinishReason) -> None:
    end = wire.token("b", end=wire.details(raw), said="ab")
    given = await outcome(TGI_NATIVE, sse(wire.token("a"), end))
    assert given.deltas == [Text("a"), Text("b"), Usage(3, 2), Finish(reason, raw)]


async def test_special_tokens_are_no_text() -> None:
    start = wire.token("<s>", special=True)
    given = await outcome(TGI_NATIVE, sse(start, *wire.tokens("a")))
    assert given.text == "a"


async def test_half_a_usage_is_none() -> None:
    details = {k: v for k, v in wire.details().items() if k != "input_length"}
    given = await outcome(TGI_NATIVE, sse(wire.token("a", end=details, said="a")))
    assert given.deltas == [Text("a"), STOP]


async def test_end_without_details_makes_nothing_up() -> None:
    last = wire.token("a", end=wire.details(), said="a").replace(b"generated_tokens", b"x")
    bare = payload(wire.token("a")) | {"generated_text": "a"}
    given = await outcome(TGI_NATIVE, sse(b"data: " + json.dumps(bare).encode() + b"\n\n"))
    assert given.deltas == [Text("a"), Finish(FinishReason.UNKNOWN, None)]
    assert type((await outcome(TGI_NATIVE, sse(last))).error) is ProtocolViolation


async def test_answer_ends_with_its_last_event() -> None:
    """What a proxy adds behind it, a [DONE] for one, is not waited for."""
    given = await outcome(TGI_NATIVE, sse(*wire.tokens("a"), DONE, wire.token("b")))
    assert given.text == "a"


async def test_list_of_one_document_is_read() -> None:
    given = await outcome(TGI_NATIVE, body(b"[" + wire.generation("Hi") + b"]", "application/json"))
    assert given.deltas == [Text("Hi"), Usage(3, 2), STOP]


async def test_streams_run_side_by_side() -> None:
    async with played(TGI_NATIVE, sse(*wire.tokens("a"))) as (provider, _):
        outcomes = await asyncio.gather(*(outcome_of(provider, ASKED) for _ in range(3)))
    assert [given.text for given in outcomes] == ["a"] * 3


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "text_generation.errors", None)
    with pytest.raises(ImportError, match=r"the extra `tgi`: pip install text-generation requests"):
        runpy.run_path(tgi_frames.__file__)
