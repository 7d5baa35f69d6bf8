"""The OpenAI dialect: chat completions, as OpenAI, vLLM, TGI, llama.cpp and Ollama speak it.

Reference: https://platform.openai.com/docs/api-reference/chat
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import msgspec

from parley.chat.deltas import Delta, Finish, FinishReason
from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    ProtocolViolation,
    ProviderError,
    TimedOut,
    Unreachable,
)
from parley.chat.models import (
    CompletionRequest,
    Health,
    HealthState,
    ModelInfo,
    Sampling,
    Tokenizer,
)
from parley.chat.ports import Provider
from providers.abilities import AbilitiesRoute
from providers.chunks import ChunkReader
from providers.config import Connection
from providers.encodings import EncodingTokenizer, encoding_of
from providers.event_source import EventSource
from providers.faults import fault
from providers.listing import Listed, read_listing
from providers.openai_request import COMPATIBLE, OPENAI, Habits, render
from providers.server_tokenizer import ServerTokenizer, TokenizeRoute
from providers.transport import Transport

OPENAI_BASE_URL = "https://api.openai.com/v1"

OPENAI_DEFAULT_MODEL = "gpt-4o-mini"
# Stands for the first model of the server's list, where nobody named one and the server was not
# up yet to be asked.
FIRST_LISTED = "first-listed"

_MODELS_TIMEOUT_S = 2.0
# Azure's own addresses end in /models: only behind a version it is a route.
_ROUTES = re.compile(r"/chat/completions$|(?<=/v1)/(chat|completions|responses|models|embeddings)$")


class OpenAICompatible:
    """A `Provider` that speaks OpenAI's dialect.

    `defaults` apply to what a request's sampling leaves open. Sends the key that it is given, and
    without one no Authorization header: keys of the environment never go to foreign URLs.
    """

    def __init__(
        self,
        connection: Connection,
        defaults: Sampling | None = None,
        habits: Habits = COMPATIBLE,
    ) -> None:
        self.connection = replace(connection, base_url=base_url(connection.base_url))
        self._habits = OPENAI if self.connection.base_url == OPENAI_BASE_URL else habits
        self._defaults = defaults or Sampling()
        self._transport = Transport(self.connection)
        self._tokenize = TokenizeRoute(self.connection)
        self._abilities = AbilitiesRoute(self.connection)
        self._tokenizers: dict[str, Tokenizer] = {}

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`.

        A stream that ends without a finish reason or ``[DONE]`` is a `BrokenStream`. Neither a
        finish reason nor a usage is made up.
        """
        if request.model == FIRST_LISTED:
            request = replace(request, model=await self._first_listed())
        body = render(request, self._defaults, self._habits)
        async with (
            self._transport.events("/chat/completions", body) as source,
            aclosing(self._deltas(source)) as deltas,
        ):
            yield deltas

    async def models(self) -> Sequence[ModelInfo]:
        """List what the server offers, in its own order; raises `ProviderError`."""
        limit_s = min(_MODELS_TIMEOUT_S, self.connection.deadlines.first_event_s)
        document = await self._transport.get("/models", limit_s)
        try:
            listed = read_listing(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            said = "a list of models that is none"
            raise fault(ProtocolViolation, self.connection, said) from exc
        if self.connection.base_url != OPENAI_BASE_URL:
            listed = await self._abilities.complete(listed)
        return [self._info(model) for model in listed]

    async def _first_listed(self) -> str:
        """Name the first model of the list; a server that has none is asked for the default."""
        try:
            listed = await self.models()
        except (Unreachable, TimedOut):
            raise
        except ProviderError:
            listed = ()
        return listed[0].name if listed else OPENAI_DEFAULT_MODEL

    async def health(self) -> Health:
        """Say whether the server lists its models; without a list it may still answer."""
        try:
            await self.models()
        except (Unreachable, TimedOut, CredentialsRefused) as error:
            return Health.after(error)
        except ProviderError as error:
            return Health.after(error, HealthState.DEGRADED)
        return Health(HealthState.OK)

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give OpenAI's encoding of the model, or the count of the server that has it."""
        encoding = encoding_of(model)
        if encoding is not None:
            return EncodingTokenizer(encoding)
        if model == FIRST_LISTED or self.connection.base_url == OPENAI_BASE_URL:
            return None
        return self._tokenizers.setdefault(model, ServerTokenizer(self._tokenize, model))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._abilities.aclose()
        await self._tokenize.aclose()
        await self._transport.aclose()

    async def _deltas(self, source: EventSource) -> AsyncGenerator[Delta]:
        reader = ChunkReader(self.connection)
        try:
            while not reader.done and (frames := await source.batch()):
                for delta in reader.read(frames, cut=source.at_end and not source.whole):
                    yield delta
                if reader.finish is not None:
                    source.end_within(self.connection.deadlines.after_finish_s)
        except ProviderError as error:
            error.streamed = reader.streamed
            # After the finish reason the answer is complete, whatever becomes of the connection.
            if reader.finish is None or not isinstance(error, TimedOut | BrokenStream):
                raise
        source.complete = reader.done
        ending = self._ending(reader, source)
        if reader.usage is not None:
            yield reader.usage
        yield ending

    def _ending(self, reader: ChunkReader, source: EventSource) -> Finish:
        if reader.finish is not None:
            return reader.finish
        if source.whole and not reader.streamed:
            raise fault(ProtocolViolation, self.connection, "a document that is no completion")
        # Ollama sends whole answers whose finish reason is null: [DONE] says that they are. Alone it
        # says nothing: servers end so what they did not begin.
        if (reader.done and reader.streamed) or source.whole:
            return Finish(FinishReason.UNKNOWN)
        error = fault(BrokenStream, self.connection)
        error.streamed = reader.streamed
        raise error

    def _info(self, model: Listed) -> ModelInfo:
        provider, name = self.connection.name, model.name
        return ModelInfo(f"{provider}:{name}", provider, name, name, model.capabilities)


def open_provider(connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of this dialect; see dialects.py."""
    return OpenAICompatible(connection, defaults)


def base_url(url: str) -> str:
    """Bring a base URL into the form that paths are added to, from what people paste.

    That is often the address of a route, or has a slash too many.
    """
    scheme, _, rest = url.strip().rpartition("://")
    rest = re.sub(r"/{2,}", "/", rest).rstrip("/")
    rest = _ROUTES.sub("", rest)
    return f"{scheme}://{rest}" if scheme else rest
