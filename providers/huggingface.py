"""The Hugging Face dialect: Inference Providers behind its router, and Inference Endpoints by URL.

`huggingface_hub.AsyncInferenceClient` writes each request: the address, the headers, the model's
name and the body. It does not read the answer: its stream reader breaks on U+2028 within JSON and
on ``data:[DONE]``, takes a cut stream for a whole one, knows no deadline that keepalives do not
move, and keeps 15 KiB of each stream. Our transport does (docs/decisions/0007-packaged-clients.md).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from huggingface_hub import AsyncInferenceClient, constants
from typing_extensions import override

from parley.chat.deltas import Delta
from parley.chat.errors import CredentialsRefused, ModelMissing, RequestRefused, Unreachable
from parley.chat.models import CompletionRequest, Sampling, Tokenizer
from parley.chat.ports import Provider
from providers.config import Connection
from providers.faults import fault, key_wanted
from providers.openai_compatible import FIRST_LISTED, OpenAICompatible, base_url
from providers.openai_request import COMPATIBLE, ENDPOINT, render

ROUTER_URL = "https://router.huggingface.co/v1"

# With telemetry its first headers ask huggingface.co, from within the event loop and whatever the
# endpoint, for the names of agents that may be running it, to tell of them in each request.
constants.HF_HUB_DISABLE_TELEMETRY = True

# Stands for a token where there is none: for None and "" the client sends the one that is saved on
# this machine, to whatever address.
_NO_TOKEN = "-"  # noqa: S105 - the absence of one
_AUTO = "auto"
_SIGN_IN = "It was the token of your own sign-in: sign in with Hugging Face again."
# What an Inference Endpoint calls its only model; another name is a LoRA adapter's to TGI.
_OWN_MODEL = "tgi"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as the client would send it."""

    url: str
    headers: Mapping[str, str]
    body: object


class _Writer(AsyncInferenceClient):
    """The packaged client up to the wire: it keeps the request that it would send.

    One for each request, as long-lived ones grow; without its HTTP client it costs little.
    """

    def __init__(self, **options: Any) -> None:
        """Take what the packaged client takes."""
        super().__init__(**options)
        self.written: list[Prepared] = []

    @override
    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """Keep the request in place of sending it; what reads the answer finds none."""
        asked = request_parameters
        self.written.append(Prepared(asked.url, asked.headers, asked.json))
        return _nothing()


class HuggingFace(OpenAICompatible):
    """A `Provider` at Hugging Face's router, or at the Inference Endpoint that is its base URL.

    The option `provider` of the connection names one of the Inference Providers: the router is told
    by ``model:provider``, since to look it up at the Hub would hold up the event loop.
    """

    def __init__(self, connection: Connection, defaults: Sampling | None = None) -> None:
        """Without a base URL it is the router."""
        address = endpoint_url(connection.base_url)
        self._routed = address == ROUTER_URL
        habits = COMPATIBLE if self._routed else ENDPOINT
        super().__init__(replace(connection, base_url=address), habits=habits)
        self._drawn_by = defaults or Sampling()
        self._trusted = _is_huggingfaces(address)
        self._named = connection.options.get("provider") or _AUTO

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion; see `Provider.stream`."""
        try:
            prepared = await self.written(request)
            path = prepared.url.removeprefix(self.connection.base_url)
            async with (
                self._transport.events(path, prepared.body, prepared.headers) as source,
                aclosing(self._deltas(source)) as deltas,
            ):
                yield deltas
        except CredentialsRefused as error:
            if request.credential and self._trusted:
                advice = f"Check {self.connection.key_setting}."
                error.message = error.message.replace(advice, _SIGN_IN)
            raise

    @override
    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the endpoint's own count; the router has none."""
        return None if self._routed else super().tokenizer(model)

    async def written(self, request: CompletionRequest) -> Prepared:
        """Let the packaged client write the request; raises `ProviderError`, sends nothing."""
        body = render(request, self._drawn_by, self._habits)
        messages: Any = body.pop("messages")
        token = self._token(request.credential)
        writer = (
            _Writer(provider="auto", token=token)
            if self._routed
            else _Writer(base_url=self.connection.base_url, token=token)
        )
        try:
            await writer.chat_completion(
                messages,
                model=self._model(str(body.pop("model"))),
                stream=bool(body.pop("stream")),
                extra_body=body,
            )
        except ValueError as exc:
            if _address(self.connection.base_url) is None:
                raise fault(Unreachable, self.connection, "its address is not a URL") from exc
            raise fault(RequestRefused, self.connection, str(exc), quotes=True) from exc
        return _without_placeholder(writer.written[0])

    def _token(self, credential: str | None) -> str:
        """Give the token of a request: the user's own, where it stays at Hugging Face."""
        own = credential if self._trusted else None
        token = own or self.connection.api_key or _NO_TOKEN
        if self._routed and not token.startswith("hf_"):
            said = "the router takes tokens that begin with hf_ only"
            if token == _NO_TOKEN:
                raise key_wanted(self.connection, said)
            raise fault(CredentialsRefused, self.connection, said)
        return token

    def _model(self, name: str) -> str:
        if name.lower().startswith(("http:", "https:")):
            # The client would take it for the address, and send the token there.
            raise fault(ModelMissing, self.connection, "a model's name is no address")
        if not self._routed:
            return _OWN_MODEL if name in {"", FIRST_LISTED} else name
        return name if self._named == _AUTO or ":" in name else f"{name}:{self._named}"


def open_provider(connection: Connection, defaults: Sampling) -> Provider:
    """Open a provider of this dialect; see dialects.py."""
    return HuggingFace(connection, defaults)


def endpoint_url(url: str) -> str:
    """Bring an Inference Endpoint's address to the form of `base_url`; nothing is the router."""
    url = base_url(url)
    if not url:
        return ROUTER_URL
    return url if url.endswith("/v1") else f"{url}/v1"


def _is_huggingfaces(url: str) -> bool:
    """Whether a server is Hugging Face's own, to which its users' tokens may go."""
    address = _address(url)
    if address is None or address.scheme != "https":
        return False
    return (address.hostname or "").endswith((".huggingface.co", ".huggingface.cloud"))


def _address(url: str) -> SplitResult | None:
    """Read an address; None for what is none, which the client would take for a model's name."""
    try:
        address = urlsplit(url)
    except ValueError:
        return None
    return address if address.scheme in {"http", "https"} and address.netloc else None


def _without_placeholder(prepared: Prepared) -> Prepared:
    kept = {
        name: value for name, value in prepared.headers.items() if value != f"Bearer {_NO_TOKEN}"
    }
    return replace(prepared, headers=kept)


async def _nothing() -> AsyncGenerator[str]:
    """Give no line of an answer."""
    lines: list[str] = []
    for line in lines:
        yield line
