"""The yardstick: `transformers serve`, a server that is not ours, where torch is at hand.

It needs a Python with torch and `transformers[serving]`, some 1.2 GB that are no dependency:

    python -m venv /tmp/yardstick && /tmp/yardstick/bin/pip install torch 'transformers[serving]'
    YARDSTICK_PYTHON=/tmp/yardstick/bin/python make bench ARGS=yardstick

Without it the table has no rows, and says so. A tiny model with random weights answers at
temperature 0; the dialect `openai` and OpenAI's SDK are to read the same of it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from openai import AsyncOpenAI

from benchmarks.servers import free_port, wait_ready
from benchmarks.table import Row, progress
from parley.chat.deltas import Finish, Text
from parley.chat.models import Sampling
from parley.chat.usage import Usage
from providers import ask, connect

_SCRIPT = Path(__file__).with_name("tiny_checkpoint.py")
_QUESTIONS = [f"What is {number} times {number}?" for number in range(10)]
_TOKENS = 100
_LEAST_SPEED = 0.9
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    finish: str
    tokens: int


class _Asked:
    """The answers that a client got, and how long they took."""

    def __init__(self, client: Callable[[str, str, str], Awaitable[_Answer]]) -> None:
        self.answers: list[_Answer] = []
        self._client = client
        self._took_s = 0.0

    async def ask(self, base_url: str, model: str, question: str) -> None:
        began_at = monotonic()
        self.answers.append(await self._client(base_url, model, question))
        self._took_s += monotonic() - began_at

    @property
    def tokens_per_s(self) -> float:
        return sum(answer.tokens for answer in self.answers) / self._took_s


def yardstick_rows() -> Sequence[Row]:
    """Measure; no rows where there is no torch."""
    python = os.environ.get("YARDSTICK_PYTHON", sys.executable)
    tried = [python, "-c", "import torch, transformers"]
    if subprocess.run(tried, check=False, capture_output=True).returncode:
        progress(f"nothing, {python} has no torch and transformers: see benchmarks/yardstick.py")
        return []
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([python, _SCRIPT, directory], check=True, capture_output=True)
        with _serving(python, directory) as base_url:
            return asyncio.run(_rows(base_url, directory))


async def _rows(base_url: str, model: str) -> Sequence[Row]:
    ours, theirs = _Asked(_ours), _Asked(_sdks)
    for question in _QUESTIONS:
        progress(f"transformers serve: {question}")
        # By turns: the server gets faster with each answer.
        for asked in (ours, theirs):
            await asked.ask(base_url, model, question)
    same = sum(our == their for our, their in zip(ours.answers, theirs.answers, strict=True))
    whole = sum(
        answer == replace(answer, finish="length", tokens=_TOKENS) for answer in ours.answers
    )
    return [
        Row(
            "transformers serve, answers read as by OpenAI's SDK",
            f"{same} of {len(_QUESTIONS)}, {whole} of them whole",
            "all",
            "openai",
            same == whole == len(_QUESTIONS),
        ),
        Row(
            "transformers serve, tokens/s",
            f"{ours.tokens_per_s:.0f}",
            f"≥ {_LEAST_SPEED} of openai's",
            f"openai {theirs.tokens_per_s:.0f}",
            ours.tokens_per_s >= _LEAST_SPEED * theirs.tokens_per_s,
        ),
    ]


async def _ours(base_url: str, model: str, question: str) -> _Answer:
    text, finish, tokens = "", "", 0
    request = replace(ask(question), sampling=Sampling(max_tokens=_TOKENS, temperature=0.0))
    async with (
        connect("openai", base_url=base_url, model=model) as provider,
        provider.stream(request) as deltas,
    ):
        async for delta in deltas:
            match delta:
                case Text(text=said):
                    text += said
                case Usage(output_tokens=tokens):
                    pass
                case Finish(reason=reason):
                    finish = reason.value
                case _:
                    pass
    return _Answer(text, finish, tokens)


async def _sdks(base_url: str, model: str, question: str) -> _Answer:
    text, finish, tokens = "", "", 0
    async with AsyncOpenAI(base_url=base_url, api_key="-") as client:
        chunks = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=_TOKENS,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    return _Answer(text, finish, tokens)


@contextmanager
def _serving(python: str, model: str) -> Iterator[str]:
    """Serve a model on loopback, and ask nobody else for anything."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(python, "-m", "transformers.cli.transformers", "serve", model),
            *("--device", "cpu", "--host", "127.0.0.1", "--port", str(port)),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_ready(process, f"http://127.0.0.1:{port}/health", _START_S)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)
