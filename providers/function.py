"""Function: a Python function as a provider, in the manner of ``gr.ChatInterface(fn)``.

An async generator or an async function runs on the event loop; a plain generator or function
runs in a thread of its own, a few pieces ahead at most. Whoever leaves the stream abandons the
thread: it ends at its next piece, which nobody sees.
"""

import asyncio
import inspect
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from typing import TypeVar

from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text, ToolCallDelta
from parley.chat.errors import ParleyError, ProviderError, ProviderFault, RequestRefused
from parley.chat.models import CompletionRequest, Health, HealthState, ModelInfo, Sampling
from parley.chat.usage import Usage
from parley.observability.logs import get_logger
from providers.config import Connection, Function
from providers.faults import timed_out
from providers.in_thread import InThread, pieces_of

logger = get_logger(__name__)

F = TypeVar("F", bound=Callable[..., object])

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_registered: list[Function] = []
# What a plug-in file has since it was changed, by name.
_renewed: dict[str, Function] = {}


def provider(name: str) -> Callable[[F], F]:
    """Register a function ``(messages, **options)`` as the provider `name`; it stays as it is.

    It yields, or returns, strings or deltas. Options are what the request sets of `model`,
    `max_tokens`, `temperature`, `top_p`, `stop`, `seed`, `tools`, `tool_choice` and
    `response_format`. Without a parameter for it tools and forms of an answer are refused.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a provider: write a-z 0-9 . _ - only")

    def register(function: F) -> F:
        _registered.append(Function(name, function, _origin(function)))
        return function

    return register


def registrations() -> tuple[Function, ...]:
    """Everything that was registered in this process, in order."""
    return tuple(_registered)


def renew(functions: Iterable[Function]) -> None:
    """Have the providers of these names call these functions from now on."""
    _renewed.update({function.name: function for function in functions})


def function_of(call: object) -> Function | None:
    """The registration of a function; None where it has none."""
    return next((f for f in reversed(_registered) if f.call is call), None)


def _origin(function: Callable[..., object]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


class FunctionProvider:
    """A `Provider` that calls a function."""

    def __init__(
        self, function: Function, connection: Connection, defaults: Sampling | None = None
    ) -> None:
        """Of the connection only its name and deadlines count."""
        self.connection = connection
        self._given = function
        self._defaults = defaults or Sampling()

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream what the function says; see `Provider.stream`."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def models(self) -> Sequence[ModelInfo]:
        """List the function itself."""
        name = self.connection.name
        return [ModelInfo(name, name, name, name)]

    async def health(self) -> Health:
        """It is there."""
        return Health(HealthState.OK)

    def tokenizer(self, model: str) -> None:
        """There is none: nobody knows what a function does with the text."""

    async def aclose(self) -> None:
        """Nothing is open."""

    @property
    def _function(self) -> Function:
        return _renewed.get(self._given.name, self._given)

    async def _deltas(self, request: CompletionRequest) -> AsyncGenerator[Delta]:
        usage: Usage | None = None
        finish = Finish(FinishReason.STOP)
        streamed = False
        try:
            async with aclosing(self._in_time(self._pieces(request))) as pieces:
                async for piece in pieces:
                    match self._delta(piece):
                        case Usage() as usage:
                            pass
                        case Finish() as finish:
                            break
                        case Text(text="") | Reasoning(text=""):
                            pass
                        case delta:
                            streamed = True
                            yield delta
        except ProviderError as error:
            error.streamed = streamed
            raise
        if usage is not None:
            yield usage
        yield finish

    def _delta(self, piece: object) -> Delta:
        if isinstance(piece, str):
            return Text(piece)
        if isinstance(piece, Text | Reasoning | ToolCallDelta | Usage | Finish):
            return piece
        raise self._fault(f"it gave {type(piece).__name__} and not text")

    async def _in_time(self, pieces: AsyncGenerator[object]) -> AsyncGenerator[object]:
        """Give the pieces within the deadlines, and what the function raises as our errors."""
        limits = self.connection.deadlines
        clock = asyncio.get_running_loop().time
        ends_at = clock() + limits.total_s
        next_at, phase = clock() + limits.first_event_s, "first_event"
        async with aclosing(pieces):
            while True:
                try:
                    piece = await self._next(pieces, *min((next_at, phase), (ends_at, "total")))
                except StopAsyncIteration:
                    return
                yield piece
                next_at, phase = clock() + limits.idle_s, "idle"

    async def _next(self, pieces: AsyncGenerator[object], at: float, phase: str) -> object:
        deadline = asyncio.timeout_at(at)
        try:
            async with deadline:
                return await anext(pieces)
        except (StopAsyncIteration, ParleyError):
            raise
        except Exception as exc:
            if isinstance(exc, TimeoutError) and deadline.expired():
                raise timed_out(self.connection, phase) from exc
            raise self._failed(exc) from exc

    async def _pieces(self, request: CompletionRequest) -> AsyncGenerator[object]:
        """Call the function, whatever it is; a generator of its own is closed in the end."""
        call, messages = self._function.call, request.messages
        asked = _options(request, self._defaults)
        options = _accepted(call, asked)
        for name in ("tools", "response_format"):
            if name in asked and name not in options:
                raise self._refused(name)
        if inspect.iscoroutinefunction(call):
            said: object = await call(messages, **options)
        elif inspect.isasyncgenfunction(call):
            said = call(messages, **options)
        else:
            said = InThread(self.connection.name, lambda: call(messages, **options)).pieces()
        if not isinstance(said, AsyncIterable):
            for piece in pieces_of(said):
                yield piece
            return
        try:
            async for piece in said:
                yield piece
        finally:
            if isinstance(said, AsyncGenerator):
                await said.aclose()

    def _refused(self, name: str) -> RequestRefused:
        provider = self.connection.name
        return RequestRefused(
            f"{provider} takes no {name}. Ask without, or give its function a parameter {name}.",
            provider=provider,
        )

    def _failed(self, exc: Exception) -> ProviderError:
        """Say what failed and where, without its words: they may be the user's."""
        where = _line_in(exc, self._function)
        name, kind = self.connection.name, type(exc).__name__
        logger.warning("function failed", provider=name, error=kind, where=where)
        return self._fault(f"{kind} in {where}")

    def _fault(self, said: str) -> ProviderFault:
        name = self.connection.name
        return ProviderFault(
            f"{name} failed: {said}. Try again, or mend its function.", provider=name
        )


def _options(request: CompletionRequest, defaults: Sampling) -> dict[str, object]:
    asked: dict[str, object] = {
        **asdict(request.sampling.or_else(defaults)),
        "tools": request.tools,
        "tool_choice": request.tool_choice if request.tools else None,
        "response_format": request.response_format,
    }
    options = {name: value for name, value in asked.items() if value is not None and value != ()}
    return {"model": request.model, **options}


def _accepted(call: Callable[..., object], options: dict[str, object]) -> dict[str, object]:
    """Leave out what the function has no parameter for; with ``**options`` it takes all."""
    parameters = inspect.signature(call).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {p.name for p in parameters if p.kind in {p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD}}
    return {name: value for name, value in options.items() if name in names}


def _line_in(exc: Exception, function: Function) -> str:
    """File and line of the function's file in which it failed, or else where it begins."""
    path = function.origin.rpartition(":")[0]
    where, trace = function.origin, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            where = f"{path}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where.rpartition("/")[2]
