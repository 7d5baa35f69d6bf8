"""Server tokenizer: a model server's own count, where it has a `/tokenize`.

    llama.cpp       {"content": …}          {"tokens": [1, 2]}
    TGI             {"inputs": …}           [{"id": 1, "text": …, "start": 0, "stop": 1}, …]
    vLLM, SGLang    {"model", "prompt"}     {"count": 2, "max_model_len": 4096, "tokens": [1, 2]}

Each reads its own field and leaves the others, so that one small request to a server finds out
which of them it is, or that it is none.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeVar

import msgspec

from parley.chat.errors import ProviderError
from parley.observability.logs import get_logger
from providers.config import Connection
from providers.transport import Transport

logger = get_logger(__name__)

_PATH = "/tokenize"
# For everything that one turn has counted.
_DEADLINE_S = 0.5
_SIDE_BY_SIDE = 8
_MOST_BYTES = 256 * 1024
_PROBE = "a"
# How long a server is not asked again that has no such route, and one that failed.
_NONE_S, _FAILED_S = 60.0, 10.0
_NO_ROUTE = frozenset({404, 405, 501})
_KEPT_COUNTS = 4096

T = TypeVar("T")


class _Tokens(msgspec.Struct):
    tokens: list[msgspec.Raw]


class _Token(msgspec.Struct):
    id: int


class _Counted(msgspec.Struct):
    count: int


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one kind of server is asked for the tokens of a text, and how many it found."""

    body: Callable[[str, str], dict[str, object]]
    read: Callable[[bytes], int]

    def tokens(self, document: bytes) -> int | None:
        """Read an answer to a text that is not empty; None for nonsense."""
        try:
            found = self.read(document)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return found if found > 0 else None


# In this order: vLLM's answer has a list of tokens too.
_DIALECTS = (
    _Dialect(
        lambda model, text: {"model": model, "prompt": text, "add_special_tokens": False},
        lambda document: msgspec.json.decode(document, type=_Counted).count,
    ),
    _Dialect(
        lambda model, text: {"model": model, "content": text},
        lambda document: len(msgspec.json.decode(document, type=_Tokens).tokens),
    ),
    _Dialect(
        lambda _, text: {"inputs": text},
        lambda document: len(msgspec.json.decode(document, type=list[_Token])),
    ),
)


class TokenizeRoute:
    """The `/tokenize` of one server: which dialect it has, and when not to ask.

    It lies beside `/v1`, and is reached over connections of its own, so that counting waits for
    no answer that streams.
    """

    def __init__(self, connection: Connection) -> None:
        """Stand for the server of a connection; nothing is asked yet."""
        root = connection.base_url.removesuffix("/v1")
        self.connection = replace(connection, base_url=root, max_connections=_SIDE_BY_SIDE)
        self._transport = Transport(self.connection)
        self._dialect: _Dialect | None = None
        self._not_before = 0.0

    @property
    def closed(self) -> bool:
        """Whether the server is not to be asked now."""
        return asyncio.get_running_loop().time() < self._not_before

    async def open(self, model: str) -> bool:
        """Find out once how the server is asked; False where it is not to be asked now."""
        if self._dialect is None and not self.closed:
            body: dict[str, object] = {}
            for dialect in _DIALECTS:
                body |= dialect.body(model, _PROBE)
            self._dialect = await self._ask(body, self._identify)
        return not self.closed

    async def count(self, model: str, text: str) -> int | None:
        """Count one text; None where the server does not, and is not asked again for a while."""
        dialect = self._dialect
        if dialect is None or self.closed:
            return None
        return await self._ask(dialect.body(model, text), dialect.tokens)

    def close(self, wait_s: float = _FAILED_S, why: str = "TimedOut") -> None:
        """Ask no more for a while, and then from the beginning: it may be another server."""
        if not self.closed:
            logger.debug("tokens are estimated", provider=self.connection.name, error=why)
        self._dialect = None
        self._not_before = asyncio.get_running_loop().time() + wait_s

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _ask(self, body: object, read: Callable[[bytes], T | None]) -> T | None:
        try:
            found = read(await self._transport.ask(_PATH, body, _DEADLINE_S))
        except ProviderError as error:
            none = not error.retryable or error.upstream_status in _NO_ROUTE
            self.close(_NONE_S if none else _FAILED_S, type(error).__name__)
            return None
        if found is None:
            self.close(_NONE_S, "nonsense")
        return found

    def _identify(self, document: bytes) -> _Dialect | None:
        return next((dialect for dialect in _DIALECTS if dialect.tokens(document)), None)


class ServerTokenizer:
    """A `Tokenizer` that asks the server of its model.

    Keeps what was counted, so that a history too long for one deadline is counted in a few.
    """

    def __init__(self, route: TokenizeRoute, model: str) -> None:
        """Count for `model`; counts of its name are never mixed with another model's."""
        self.name = f"{route.connection.name}:{model}"
        self._route = route
        self._model = model
        self._kept: OrderedDict[bytes, int] = OrderedDict()

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:  # noqa: D102 - see the port
        valid = [text.encode("utf-8", "replace") for text in texts]
        if any(len(text) > _MOST_BYTES for text in valid):
            return None
        keys = [blake2b(text, digest_size=16).digest() for text in valid]
        found = {key: 0 for key, text in zip(keys, valid, strict=True) if not text}
        found |= {key: self._kept[key] for key in keys if key in self._kept}
        asked = {k: text.decode() for k, text in zip(keys, valid, strict=True) if k not in found}
        if asked and not self._route.closed:
            await self._ask(asked, found)
        if not found.keys() >= asked.keys():
            return None
        return [found[key] for key in keys]

    async def _ask(self, asked: dict[bytes, str], found: dict[bytes, int]) -> None:
        """Ask until all is found or the time is over."""
        before = len(found)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                if await self._route.open(self._model):
                    await self._side_by_side(asked, found)
        except TimeoutError:
            if len(found) == before:
                self._route.close()

    async def _side_by_side(self, asked: dict[bytes, str], found: dict[bytes, int]) -> None:
        waiting = iter(asked.items())
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_SIDE_BY_SIDE, len(asked))):
                group.create_task(self._count(waiting, found))

    async def _count(self, waiting: Iterator[tuple[bytes, str]], found: dict[bytes, int]) -> None:
        for key, text in waiting:
            tokens = await self._route.count(self._model, text)
            if tokens is None:
                return
            found[key] = self._kept[key] = tokens
            if len(self._kept) > _KEPT_COUNTS:
                self._kept.popitem(last=False)
