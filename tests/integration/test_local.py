"""The dialect `local` with a real model: llama.cpp in a process of its own, and what becomes of it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import BrokenStream, ModelMissing, ProviderError, Unreachable
from parley.chat.messages import Message, Role
from parley.chat.models import (
    CompletionRequest,
    Health,
    HealthState,
    ResponseFormat,
    Sampling,
)
from parley.chat.usage import Usage
from providers.config import Connection
from providers.local import LocalProvider, open_provider
from tests.models.tiny_gguf import CONTEXT_TOKENS
from tests.patience import until
from tests.unit.providers.support import Outcome, outcome_of

CONNECTION = Connection("local", "", model_setting="LOCAL_MODEL")
LONG_ANSWER = Sampling(max_tokens=3000, temperature=3.0, seed=1)


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = open_provider(CONNECTION, Sampling(max_tokens=64, seed=1))
    yield provider
    await provider.aclose()


def asking(model: Path | str, text: str = "Hello?") -> CompletionRequest:
    return CompletionRequest(str(model), (Message.of(Role.USER, text),))


async def _drained(deltas: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in deltas]


def error_of(outcome: Outcome) -> ProviderError:
    assert outcome.error is not None
    return outcome.error


def children() -> set[int]:
    """The llama.cpp processes that this process has."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" ", 1)
            command = path.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        mine = int(rest.rpartition(")")[2].split()[1]) == os.getpid()
        if mine and b"llama_child" in command:
            found.add(int(pid))
    return found


async def test_answers_with_text_usage_and_finish(
    provider: LocalProvider, tiny_model: Path
) -> None:
    outcome = await outcome_of(provider, asking(tiny_model))
    *texts, usage, finish = outcome.deltas
    assert all(isinstance(delta, Text) for delta in texts)
    assert outcome.text.endswith(".")
    assert isinstance(usage, Usage)
    assert usage.input_tokens > 0
    assert usage.output_tokens >= len(texts)
    assert finish == Finish(FinishReason.STOP, "stop")


async def test_nothing_is_loaded_until_asked(provider: LocalProvider, tiny_model: Path) -> None:
    info = await provider.describe(str(tiny_model))
    assert (info.id, info.label) == (f"local:{tiny_model}", "parley-tiny-random")
    assert info.capabilities.context_window == CONTEXT_TOKENS
    assert await provider.health() == Health(HealthState.OK, "not loaded yet")
    tokenizer = provider.tokenizer(str(tiny_model))
    assert await tokenizer.count(["Hello"]) is None
    assert not children()
    await outcome_of(provider, asking(tiny_model))
    assert len(children()) == 1
    assert await provider.health() == Health(HealthState.OK)
    counts = await tokenizer.count(["Hello", ""])
    assert counts is not None
    assert counts[0] > counts[1] == 0


async def test_answers_follow_each_other_at_once(provider: LocalProvider, tiny_model: Path) -> None:
    """llama.cpp ends a connection after a stream: none is used again."""
    outcomes = [await outcome_of(provider, asking(tiny_model)) for _ in range(8)]
    assert [outcome.error for outcome in outcomes] == [None] * 8


async def test_concurrent_turns_share_one_server(provider: LocalProvider, tiny_model: Path) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(outcome_of(provider, asking(tiny_model, f"Question {n}?")))
            for n in range(6)
        ]
    assert len(children()) == 1
    for task in asked:
        assert task.result().error is None
        assert isinstance(task.result().deltas[-1], Finish)


async def test_leaving_frees_the_server(provider: LocalProvider, tiny_model: Path) -> None:
    request = CompletionRequest(str(tiny_model), asking("").messages, LONG_ANSWER)
    for _ in range(4):  # more than run at once: an abandoned one would make them wait
        async with provider.stream(request) as deltas:
            assert isinstance(await anext(deltas), Text)
    assert (await outcome_of(provider, asking(tiny_model))).error is None


async def test_too_long_a_prompt_says_so(provider: LocalProvider, tiny_model: Path) -> None:
    outcome = await outcome_of(provider, asking(tiny_model, "word " * CONTEXT_TOKENS))
    assert error_of(outcome).code == "context_too_long"


async def test_dead_server_is_started_again(provider: LocalProvider, tiny_model: Path) -> None:
    request = CompletionRequest(str(tiny_model), asking("").messages, LONG_ANSWER)
    async with provider.stream(request) as deltas:
        await anext(deltas)
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        with suppress(BrokenStream):  # it may have said all before it died
            await _drained(deltas)
    first = await outcome_of(provider, asking(tiny_model))
    # It may have died this very moment; the error then says that another attempt is worth it.
    assert first.error is None or first.error.retryable
    assert (await outcome_of(provider, asking(tiny_model))).error is None
    assert children().isdisjoint({child})


async def test_closing_ends_the_server_for_good(tiny_model: Path) -> None:
    provider = open_provider(CONNECTION, Sampling())
    await outcome_of(provider, asking(tiny_model))
    await provider.aclose()
    assert not children()
    assert isinstance(error_of(await outcome_of(provider, asking(tiny_model))), Unreachable)
    assert not children()


async def test_giving_up_ends_what_loads(provider: LocalProvider, tiny_model: Path) -> None:
    asked = asyncio.ensure_future(outcome_of(provider, asking(tiny_model)))
    await until(children)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not children()
    assert (await outcome_of(provider, asking(tiny_model))).error is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no GGUF file"),
        (b"<html>", "it is no GGUF file"),
        (b"GGUF\x03\x00", "it ends in its header"),
    ],
)
async def test_file_that_is_no_model_is_said(
    provider: LocalProvider, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    error = error_of(await outcome_of(provider, asking(path)))
    assert isinstance(error, ModelMissing)
    assert f"local cannot load bad.gguf: {reason}" in error.message
    assert str(tmp_path) not in error.message
    assert not children()


@pytest.fixture
def half_a_model(tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "half.gguf"
    path.write_bytes(tiny_model.read_bytes()[:200_000])
    return path


async def test_half_a_model_gives_llamas_reason(
    provider: LocalProvider, half_a_model: Path
) -> None:
    error = error_of(await outcome_of(provider, asking(half_a_model)))
    assert isinstance(error, ModelMissing)
    assert "corrupted or incomplete. Take another file" in error.message
    assert not children()


async def test_missing_file_says_which_command(provider: LocalProvider, tmp_path: Path) -> None:
    gone = error_of(await outcome_of(provider, asking(tmp_path / "gone.gguf")))
    assert gone.message == "local has no file gone.gguf on this machine. Check LOCAL_MODEL."
    never = error_of(await outcome_of(provider, asking("org/never-pulled:a.gguf")))
    assert never.message.endswith("Fetch it with: parley models pull org/never-pulled:a.gguf")
    assert (await provider.health()).state is HealthState.DOWN


async def test_answer_is_of_the_form_that_is_asked_for(
    provider: LocalProvider, tiny_model: Path
) -> None:
    form = ResponseFormat(
        {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    )
    outcome = await outcome_of(provider, replace(asking(tiny_model), response_format=form))
    assert json.loads(outcome.text)["n"] in {1, 2}


async def test_same_seed_says_the_same(provider: LocalProvider, tiny_model: Path) -> None:
    drawn = Sampling(max_tokens=20, temperature=1.5, seed=11)
    texts = {
        (await outcome_of(provider, replace(asking(tiny_model), sampling=drawn))).text
        for _ in range(2)
    }
    assert len(texts) == 1
