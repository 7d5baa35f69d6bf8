"""The door: a working `Provider` for a program that is not Parley.

    async with connect("openai", base_url="http://127.0.0.1:11434/v1", model="qwen3") as provider:
        async with provider.stream(ask("Hello?")) as deltas:
            async for delta in deltas:
                ...

Nothing is read from the environment: a key goes to the address that it was given with.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from io import StringIO

from typing_extensions import override

from parley.chat.deltas import Delta, Text
from parley.chat.errors import ProviderError
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest
from parley.chat.ports import Provider
from providers.config import Connection, Deadlines, ModelConfig, ProvidersConfig, RetryConfig
from providers.demo import DemoProvider
from providers.dialects import DIALECTS
from providers.function import registrations
from providers.health import Watched
from providers.openai_compatible import FIRST_LISTED
from providers.opening import Opening
from providers.plugins import installed
from providers.standard import default_model, of_row


@asynccontextmanager
async def connect(
    name: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    model: str | None = None,
    deadlines: Deadlines | None = None,
    retry: RetryConfig | None = None,
) -> AsyncGenerator[Provider]:
    """Open the provider `name`, and close it in the end.

    `name` is that of a dialect, of a function under ``@provider`` or of an installed plug-in;
    ValueError for another. A request whose model is empty asks for `model`, or for the provider's
    usual one. `RetryConfig(retries=0)` leaves retrying to the caller.
    """
    # No function takes the place of a dialect, and gets a key that is meant for a server.
    functions = {f.name: f for f in registrations() if f.name not in DIALECTS}
    known = {*DIALECTS, *functions, *installed(), "demo"}
    if name not in known:
        raise ValueError(f"there is no provider {name!r}; known are {', '.join(sorted(known))}")
    if name == "demo":
        yield DemoProvider()
        return
    config = ProvidersConfig(
        deadlines=deadlines or Deadlines(), retry=retry or RetryConfig(), functions=functions
    )
    row = ModelConfig("connect", name, model, base_url=base_url, api_key=api_key)
    connection = _named(of_row(row, config))
    usual = FIRST_LISTED if name in DIALECTS else name
    upstream = model or default_model(name, config, base_url) or usual
    opened = Opening(config).provider(name, connection)
    async with aclosing(_Asking(opened, upstream)) as provider:
        yield provider


def ask(text: str, *, model: str = "", system: str | None = None) -> CompletionRequest:
    """Make a request of one question; `system` is what the model is told first."""
    told = (Message.of(Role.SYSTEM, system),) if system else ()
    return CompletionRequest(model, (*told, Message.of(Role.USER, text)))


def _named(connection: Connection) -> Connection:
    """Name the arguments of `connect` as what an error tells to change."""
    return replace(
        connection,
        key_setting="api_key",
        url_setting="base_url",
        model_setting="model",
        deadline_setting="deadlines",
        event_setting="max_event_bytes",
    )


class _Asking(Watched):
    """Asks for its model where a request names none."""

    def __init__(self, watched: Watched, model: str) -> None:
        super().__init__(watched.provider, watched.connection)
        self._model = model

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        request = replace(request, model=request.model or self._model)
        async with super().stream(request) as deltas, aclosing(_collected(deltas)) as collected:
            yield collected


async def _collected(deltas: AsyncIterator[Delta]) -> AsyncGenerator[Delta]:
    """Pass the deltas on; an error that ends them carries their text."""
    text = StringIO()
    try:
        async for delta in deltas:
            if isinstance(delta, Text):
                text.write(delta.text)
            yield delta
    except ProviderError as error:
        error.text_so_far = text.getvalue()
        raise
