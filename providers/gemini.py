"""The Gemini dialect: Google's own API, for what its OpenAI-compatible address does not tell.

Thoughts come as reasoning. google-genai is what the tests measure it by, and is not used: its
stream reader breaks on a comment, its timeout cuts long answers, closing its stream leaves the socket
open, and its types take twenty times as long (docs/decisions/0040-gemini-without-its-sdk.md).
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import msgspec
from typing_extensions import override

from parley.chat.deltas import Delta
from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    ProtocolViolation,
    ProviderError,
    TimedOut,
    Unreachable,
)
from parley.chat.models import (
    Capabilities,
    CompletionRequest,
    Health,
    HealthState,
    ModelInfo,
    Sampling,
    Tokenizer,
)
from parley.chat.ports import Provider
from providers.config import Connection
from providers.event_source import EventSource
from providers.faults import fault
from providers.gemini_frames import ResponseReader
from providers.gemini_request import render
from providers.transport import Transport

GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"

_MODELS_TIMEOUT_S = 2.0
# Others answer 400 to the question what they think.
_THINKS = re.compile(
    r"gemini-(2\.5|[3-9]|(flash|flash-lite|pro)-latest)(?!.*(image|tts|live|audio))"
)


class _KeyedTransport(Transport):
    """The transport with Google's header for the key."""

    @override
    def _headers(self) -> dict[str, str]:
        headers = super()._headers()
        if key := self.connection.api_key:
            del headers["Authorization"]
            headers["x-goog-api-key"] = key
        return headers


class Gemini:
    """A `Provider` that speaks Gemini's own API; the option `thoughts` may say ``off``."""

    def __init__(self, connection: Connection, defaults: Sampling | None = None) -> None:
        """Take the address with or without its version."""
        self.connection = replace(connection, base_url=versioned_url(connection.base_url))
        self._defaults = defaults or Sampling()
        self._transport = _KeyedTransport(self.connection)
        self._thoughts = connection.options.get("thoughts") != "off"

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`."""
        name = _short(request.model)
        thinks = self._thoughts and _THINKS.match(name) is not None
        sampling = request.sampling.or_else(self._defaults)
        body = render(request, sampling, thinks=thinks)
        resource = name if name.startswith("tunedModels/") else f"models/{name}"
        path = f"/{quote(resource)}:streamGenerateContent?alt=sse"
        async with (
            self._transport.events(path, body) as source,
            aclosing(self._deltas(source)) as deltas,
        ):
            yield deltas

    async def models(self) -> Sequence[ModelInfo]:
        """List the models that write answers; raises `ProviderError`."""
        limit_s = min(_MODELS_TIMEOUT_S, self.connection.deadlines.first_event_s)
        document = await self._transport.get("/models?pageSize=1000", limit_s)
        try:
            listed = msgspec.json.decode(document, type=_ModelList).models
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            said = "a list of models that is none"
            raise fault(ProtocolViolation, self.connection, said) from exc
        return [self._info(model) for model in listed if model.answers]

    async def health(self) -> Health:
        """Say whether the models are listed."""
        try:
            await self.models()
        except (Unreachable, TimedOut, CredentialsRefused) as error:
            return Health.after(error)
        except ProviderError as error:
            return Health.after(error, HealthState.DEGRADED)
        return Health(HealthState.OK)

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give none: Google's count is a paid-for request over the network."""
        return None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _deltas(self, source: EventSource) -> AsyncGenerator[Delta]:
        reader = ResponseReader(self.connection)
        try:
            while frames := await source.batch():
                for delta in reader.read(frames, cut=source.at_end and not source.whole):
                    yield delta
                if reader.finish is not None:
                    source.end_within(self.connection.deadlines.after_finish_s)
            if reader.finish is None:
                error = ProtocolViolation if source.whole else BrokenStream
                raise fault(error, self.connection)
        except ProviderError as error:
            error.streamed = reader.streamed
            # After the finish reason the answer is complete, whatever becomes of the connection.
            if reader.finish is None or not isinstance(error, TimedOut | BrokenStream):
                raise
        source.complete = source.at_end
        if reader.usage is not None:
            yield reader.usage
        if reader.finish is not None:
            yield reader.finish

    def _info(self, model: "_Model") -> ModelInfo:
        provider, name = self.connection.name, _short(model.name)
        capabilities = Capabilities(
            context_window=model.input_token_limit, reasoning=bool(model.thinking)
        )
        label = model.display_name or name
        return ModelInfo(f"{provider}:{name}", provider, name, label, capabilities)


class _Model(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    thinking: bool | None = None
    supported_generation_methods: list[str] | None = None

    @property
    def answers(self) -> bool:
        """Whether it writes answers, or only embeds."""
        methods = self.supported_generation_methods
        return methods is None or "generateContent" in methods


class _ModelList(msgspec.Struct):
    models: list[_Model] = []


def open_provider(connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of this dialect; see dialects.py."""
    return Gemini(connection, defaults)


def versioned_url(url: str) -> str:
    """Bring an address of the API to the form that paths are added to."""
    url = re.sub(r"(?<=[^:/])/{2,}", "/", url.strip()).rstrip("/")
    url = re.sub(r"/(openai|models)(/.*)?$", "", url)
    if not url:
        return GEMINI_URL
    return url if re.search(r"/v\d+\w*$", url) else f"{url}/v1beta"


def _short(name: str) -> str:
    return name.removeprefix("models/")
