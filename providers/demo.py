"""The demo provider: shows the chat without a model, and never passes for one."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import RequestRefused
from parley.chat.messages import Role
from parley.chat.models import Capabilities, CompletionRequest, Health, HealthState, ModelInfo
from providers.demo_answers import ANSWERS
from providers.embedded import is_installed

DEMO_MODEL = ModelInfo(
    id="demo:echo",
    provider="demo",
    name="echo",
    label="Demo (no model)",
    capabilities=Capabilities(is_model=False),
)

_MAX_ECHO_CHARS = 500

_NO_TOOLS = (
    "The demo is no model: it calls no tools and writes no JSON. Connect a model, or ask without."
)


class DemoProvider:
    """A `Provider` that echoes the question word by word, the same answer every time.

    Sends no usage: it is not a model. `pause_s` lies between two words.
    """

    def __init__(self, pause_s: float = 0.02) -> None:
        self._pause_s = pause_s

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream the demo answer; see `Provider.stream`."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def models(self) -> Sequence[ModelInfo]:
        """List the one that is no model."""
        return [DEMO_MODEL]

    async def health(self) -> Health:
        """Say that it works, and what it is not."""
        return Health(HealthState.DEGRADED, "no model is connected")

    def tokenizer(self, model: str) -> None:
        """There is none: there is no model."""

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _deltas(self, request: CompletionRequest) -> AsyncGenerator[Delta]:
        if request.tools or request.response_format:
            raise RequestRefused(_NO_TOOLS, provider=DEMO_MODEL.provider)
        for word in re.findall(r"\s*\S+", answer_to(request)):
            yield Text(word)
            await asyncio.sleep(self._pause_s)
        yield Finish(FinishReason.STOP, "demo")


def answer_to(request: CompletionRequest) -> str:
    """The whole answer to a request, as Markdown, in the language of who reads it."""
    says = ANSWERS.get(request.language, ANSWERS["en"])
    asked = (m.text for m in reversed(request.messages) if m.role is Role.USER)
    question = next(asked, "").strip()
    if len(question) > _MAX_ECHO_CHARS:
        question = question[:_MAX_ECHO_CHARS] + "…"
    quoted = "\n".join(f"> {line}" for line in (question or says.nothing).splitlines())
    return says.answer.format(question=quoted) + (says.pull if is_installed() else "")
