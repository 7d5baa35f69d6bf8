"""The TGI dialect: Text Generation Inference, by its Messages API or its native wire.

Chat goes to `/v1/chat/completions`. A server whose model has no chat template refuses that, and
one that has no such route at all exists too: both are asked by `/generate_stream` from then on.
`/info` tells which model it is and what its limits are.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import msgspec

from parley.chat.deltas import Delta
from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    ModelMissing,
    ProtocolViolation,
    ProviderError,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from parley.chat.messages import Message, Role, TextPart
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
from providers import openai_request
from providers.config import Connection
from providers.event_source import EventSource
from providers.faults import fault
from providers.openai_compatible import FIRST_LISTED, OpenAICompatible, base_url
from providers.tgi_frames import TokenReader, render
from providers.transport import Transport

# The name of whatever model a server runs; any other is a LoRA adapter's.
TGI_MODEL = "tgi"

_INFO_TIMEOUT_S = 2.0
# For a native answer whose prompt cannot be counted: short enough for any window.
_NEW_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """What a TGI server says of itself in `/info`; None is what it does not say."""

    model_id: str
    max_total_tokens: int | None = None
    max_input_tokens: int | None = None
    max_concurrent_requests: int | None = None


class _Info(msgspec.Struct):
    model_id: str
    max_total_tokens: int | None = None
    max_input_tokens: int | None = None
    max_input_length: int | None = None  # before 2.1
    max_concurrent_requests: int | None = None


class TGI:
    """A `Provider` that speaks to Text Generation Inference.

    The option `api` of the connection may say ``generate``: then chat is not even tried.
    """

    def __init__(self, connection: Connection, defaults: Sampling | None = None) -> None:
        """Take any of the server's addresses: what people paste may end in a route."""
        self.connection = replace(connection, base_url=root_url(connection.base_url))
        self._defaults = defaults or Sampling()
        self._transport = Transport(self.connection)
        self._chat = OpenAICompatible(
            replace(connection, base_url=f"{self.connection.base_url}/v1"),
            habits=openai_request.TGI,
        )
        self._native = connection.options.get("api") == "generate"
        self._limits: Limits | None = None
        self._own_model: str | None = None

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`."""
        sampling = request.sampling.or_else(self._defaults)
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, replace(request, sampling=sampling))

    async def limits(self) -> Limits:
        """Ask `/info`, once it has answered never again; raises `ProviderError`."""
        if self._limits is None:
            document = await self._transport.get("/info", self._patience())
            try:
                info = msgspec.json.decode(document, type=_Info)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                said = "an /info that is none of TGI's"
                raise fault(ProtocolViolation, self.connection, said) from exc
            self._limits = Limits(
                info.model_id,
                info.max_total_tokens,
                info.max_input_tokens or info.max_input_length,
                info.max_concurrent_requests,
            )
        return self._limits

    async def models(self) -> Sequence[ModelInfo]:
        """Give the one model that the server runs; raises `ProviderError`."""
        limits, provider = await self.limits(), self.connection.name
        capabilities = Capabilities(context_window=limits.max_total_tokens)
        return [
            ModelInfo(f"{provider}:{TGI_MODEL}", provider, TGI_MODEL, limits.model_id, capabilities)
        ]

    async def health(self) -> Health:
        """Ask `/health`; a server whose last generation failed says 503 until a probe passes."""
        try:
            await self._transport.get("/health", self._patience())
        except (Unreachable, TimedOut, CredentialsRefused) as error:
            return Health.after(error)
        except ProviderError as error:
            return Health.after(error, HealthState.DEGRADED)
        return Health(HealthState.OK)

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the server's own count, the same for its model and its adapters."""
        return self._chat.tokenizer(TGI_MODEL)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._chat.aclose()
        await self._transport.aclose()

    async def _begin(
        self, stack: AsyncExitStack, request: CompletionRequest
    ) -> AsyncIterator[Delta]:
        if not self._native:
            if request.response_format and request.response_format.schema is None:
                raise self._refused(
                    "it writes JSON by a schema only, and none was given",
                    "Send a schema (response_format of the type json_schema), or choose another model.",
                )
            chat = replace(
                request,
                model=await self._model(request.model),
                sampling=_of_chat(request.sampling),
            )
            try:
                return await stack.enter_async_context(self._chat.stream(chat))
            except ProviderError as error:
                if not _without_chat(error):
                    raise
            self._native = True
        return await stack.enter_async_context(self._generation(request))

    async def _model(self, name: str) -> str:
        """Say `tgi` for the server's own model, under whatever name it was configured."""
        if name in {"", TGI_MODEL, FIRST_LISTED}:
            return TGI_MODEL
        if self._own_model is None:
            try:
                self._own_model = (await self.limits()).model_id
            except (Unreachable, TimedOut):
                return name
            except ProviderError:  # it has no /info, and will not have one the next time
                self._own_model = ""
        return TGI_MODEL if name == self._own_model else name

    @asynccontextmanager
    async def _generation(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        if beyond_text(request):
            raise self._refused(
                "its native wire takes text alone: no tools, images or JSON",
                "Ask without them, or choose a model whose server has chat.",
            )
        prompt = prompt_of(request.messages)
        new_tokens = request.sampling.max_tokens or await self._room(prompt, request.model)
        body = render(prompt, request.sampling, new_tokens, self.connection)
        async with (
            self._transport.events("/generate_stream", body) as source,
            aclosing(self._deltas(source)) as deltas,
        ):
            yield deltas

    async def _room(self, prompt: str, model: str) -> int:
        """Count how many tokens fit behind a prompt; some, where the server does not tell."""
        tokenizer = self.tokenizer(model)
        try:
            window = (await self.limits()).max_total_tokens
        except ProviderError:
            window = None
        counted = await tokenizer.count([prompt]) if tokenizer and window else None
        return max(1, window - counted[0]) if window and counted else _NEW_TOKENS

    async def _deltas(self, source: EventSource) -> AsyncGenerator[Delta]:
        reader = TokenReader(self.connection)
        try:
            while reader.finish is None and (frames := await source.batch()):
                cut = source.at_end
                whole = source.whole
                texts = reader.read_whole(frames) if whole else reader.read(frames, cut=cut)
                for text in texts:
                    yield text
            if reader.finish is None:
                error = ProtocolViolation if source.whole else BrokenStream
                raise fault(error, self.connection)
        except ProviderError as error:
            error.streamed = reader.streamed
            raise
        source.complete = True
        if reader.usage is not None:
            yield reader.usage
        yield reader.finish

    def _refused(self, said: str, advice: str) -> ProviderError:
        return fault(RequestRefused, self.connection, said, advice=advice)

    def _patience(self) -> float:
        return min(_INFO_TIMEOUT_S, self.connection.deadlines.first_event_s)


def open_provider(connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of this dialect; see dialects.py."""
    return TGI(connection, defaults)


def root_url(url: str) -> str:
    """Bring an address of a TGI server to its root."""
    url = base_url(url)
    for route in ("/generate_stream", "/generate", "/v1"):
        url = url.removesuffix(route).rstrip("/")
    return url


def prompt_of(messages: Sequence[Message]) -> str:
    """Write messages for a model that knows no roles: one alone as it is, more as a transcript."""
    if len(messages) == 1:
        return messages[0].text
    names = {Role.USER: "User: ", Role.ASSISTANT: "Assistant: ", Role.SYSTEM: ""}
    turns = [f"{names[message.role]}{message.text}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])


def beyond_text(request: CompletionRequest) -> bool:
    """Whether a request asks for more than text for text, or has other parts in its messages."""
    parts = (part for message in request.messages for part in message.parts)
    asked = request.tools or request.response_format
    return bool(asked) or not all(isinstance(part, TextPart) for part in parts)


def _of_chat(sampling: Sampling) -> Sampling:
    """Leave out a top_p of 1, which TGI refuses; its chat takes temperature 0 as greedy."""
    return replace(sampling, top_p=None) if (sampling.top_p or 0) >= 1 else sampling


def _without_chat(error: ProviderError) -> bool:
    """Tell whether chat was refused for good: the model has no template, the server no route."""
    if error.upstream_status in {404, 405}:
        return not isinstance(error, ModelMissing)
    return error.upstream_status == 422 and "template not found" in error.message.lower()
