"""The failure matrix as it is shipped: each case has its outcome in our own provider."""

import json
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec import structs

from parley.chat.deltas import Finish, FinishReason, Reasoning, ToolCallDelta
from parley.chat.errors import (
    Overloaded,
    ProviderError,
    TimedOut,
)
from parley.chat.messages import Message, Role
from parley.fake_server.exchange import Request, listening
from parley.fake_server.script import read_script
from parley.fake_server.server import ScriptedServer
from providers.config import Deadlines
from providers.frames import Frame, FrameReader
from providers.openai_compatible import OpenAICompatible
from tests.fakes.failure_matrix import ALSO, FAILED, MATRIX, SILENT, WELL
from tests.unit.providers.support import LONG, REQUEST, Outcome, connection, late, outcome_of


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(read_script(MATRIX))
    async with listening(server):
        yield server


async def ask(server: ScriptedServer, case: str, deadlines: Deadlines = LONG) -> Outcome:
    provider = OpenAICompatible(connection(server.base_url, deadlines=deadlines))
    try:
        request = replace(REQUEST, messages=(Message.of(Role.USER, case),))
        return await outcome_of(provider, request)
    finally:
        await provider.aclose()


@pytest.mark.parametrize(("case", "answer"), WELL.items(), ids=WELL.keys())
async def test_unusual_answer_is_read(
    server: ScriptedServer, case: str, answer: tuple[str, FinishReason]
) -> None:
    outcome = await ask(server, case)
    assert outcome.error is None
    finish = outcome.deltas[-1]
    assert isinstance(finish, Finish)
    assert (outcome.text, finish.reason) == answer


@pytest.mark.parametrize(("case", "error"), FAILED.items(), ids=FAILED.keys())
async def test_failure_is_typed(
    server: ScriptedServer, case: str, error: type[ProviderError]
) -> None:
    outcome = await ask(server, case)
    assert type(outcome.error) is error
    # The cut may come with the text in one packet; what is certain is that nothing is made up.
    assert outcome.text in {"", "Hé"}
    assert outcome.error.streamed == bool(outcome.deltas)


@pytest.mark.parametrize(("case", "phase"), SILENT.items(), ids=SILENT.keys())
async def test_silence_has_its_deadline(server: ScriptedServer, case: str, phase: str) -> None:
    outcome = await ask(server, case, late(phase))
    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.phase == phase
    if server.requests:  # else all of this process stood still until the deadline had passed
        await server.left.wait()


async def test_finish_then_hang_is_an_end(server: ScriptedServer) -> None:
    provider = OpenAICompatible(
        connection(server.base_url, deadlines=replace(LONG, after_finish_s=0.1))
    )
    request = replace(REQUEST, messages=(Message.of(Role.USER, "finish then hang"),))
    outcome = await outcome_of(provider, request)
    await provider.aclose()
    assert (outcome.text, outcome.error) == ("Hé you", None)


async def test_refused_once_is_answered_then(server: ScriptedServer) -> None:
    first = await ask(server, "429 then well")
    assert isinstance(first.error, Overloaded)
    assert first.error.retry_after_s == 0
    assert (await ask(server, "429 then well")).text == "Hé you"
    assert isinstance((limited := await ask(server, "429")).error, Overloaded)
    assert limited.error is not None
    assert limited.error.retry_after_s == 7


async def test_thinking_and_tools_are_read(server: ScriptedServer) -> None:
    thought = [d.text for d in (await ask(server, "reasoning")).deltas if isinstance(d, Reasoning)]
    assert "".join(thought) == "Who asks?"
    calls = [d for d in (await ask(server, "tool calls")).deltas if isinstance(d, ToolCallDelta)]
    assert [call.name for call in calls if call.name] == ["search", "read"]
    assert "".join(call.arguments for call in calls if call.index == 0) == '{"q": "x"}'


def test_every_case_is_tested() -> None:
    cases = {reply["when"][1:-1] for reply in tomllib.loads(MATRIX.read_text())["reply"]}
    assert cases == {*WELL, *FAILED, *SILENT, *ALSO}


ROUTES = {
    "openai": "/v1/chat/completions",
    "tgi": "/v1/chat/completions",
    "tgi native": "/generate_stream",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
}
# Of a larger stream, as that of two megabytes is, other tests cut the one event.
MOST_CUT = 8 * 1024


def frames(*pieces: bytes) -> list[Frame]:
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.feed(piece)] + reader.close()


@pytest.mark.parametrize(("dialect", "path"), ROUTES.items(), ids=ROUTES.keys())
def test_every_cut_of_every_case_gives_the_same_frames(dialect: str, path: str) -> None:
    script = read_script(MATRIX)
    server = ScriptedServer(structs.replace(script, dialect=dialect.split()[0]))
    cut = 0
    for case in (*WELL, *FAILED, *SILENT, *ALSO):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": case}]}
        asked = {
            **body,
            "inputs": case,
            "contents": [{"role": "user", "parts": [{"text": case}]}],
            "stream_options": {"include_usage": True},
        }
        reply = server.reply_to(Request("POST", path, {}, json.dumps(asked).encode()))
        stream = b"".join(step for step in reply.steps if isinstance(step, bytes))
        if len(stream) > MOST_CUT:
            continue
        whole = frames(stream)
        for at in range(1, len(stream)):
            assert frames(stream[:at], stream[at:]) == whole, (case, stream[:at][-40:])
        assert frames(*(bytes([byte]) for byte in stream)) == whole, case
        cut += len(whole) > 0
    assert cut > 30
