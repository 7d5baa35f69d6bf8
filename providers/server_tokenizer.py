"""Server tokenizer: a model server's own count, where it has a `/tokenize`.

    llama.cpp       {"content": …}          {"tokens": [1, 2]}
    TGI             {"inputs": …}           [{"id": 1, "text": …, "start": 0, "stop": 1}, …]
    vLLM, SGLang    {"model", "prompt"}     {"count": 2, "max_model_len": 4096, "tokens": [1, 2]}

Each reads its own field and leaves the others, so that one small request to a server finds out
which of them it is, or that it is none.

Which model counts is asked as well: a server may be started again with another one under the same
name. And a turn waits for a server that is slow or gone once: it is tried again behind its back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

from parley.chat.errors import ProviderError
from parley.observability.logs import get_logger
from providers.config import Connection
from providers.tokenize_dialects import TOKENIZE_DIALECTS, TokenizeDialect, short_digest
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
# What is slow for a text of this size, and how long a slow server is not asked again.
_SLOW_S, _SMALL_BYTES, _SLOW_PAUSE_S = 0.05, 8192, 60.0
# How long a server is believed to have the same model, unless asking takes a while itself.
_SURE_S, _SURE_TIMES = 5.0, 100
_NO_ROUTE = frozenset({404, 405, 501})
_KEPT_COUNTS = 4096

T = TypeVar("T")


class TokenizeRoute:
    """The `/tokenize` of one server: which dialect it has, and when not to ask.

    It lies beside `/v1`, and is reached over connections of its own, so that counting waits for
    no answer that streams. `failures` tells how often it was closed: what was learned before is
    then forgotten.
    """

    def __init__(self, connection: Connection) -> None:
        """Stand for the server of a connection; nothing is asked yet."""
        root = connection.base_url.removesuffix("/v1")
        self.connection = replace(connection, base_url=root, max_connections=_SIDE_BY_SIDE)
        self.address = short_digest(root.encode())
        self.failures = 0
        self._transport = Transport(self.connection)
        self._dialect: TokenizeDialect | None = None
        self._not_before = 0.0
        self._reopening: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether the server is not to be asked now."""
        return asyncio.get_running_loop().time() < self._not_before

    def ready(self, model: str) -> bool:
        """Whether a turn may wait for the server; one that failed is tried in the background."""
        if self.closed or self._reopening is not None:
            return False
        if self._dialect is None and self.failures:
            self._reopening = asyncio.get_running_loop().create_task(self._reopen(model))
            return False
        return True

    async def open(self, model: str) -> bool:
        """Find out once how the server is asked; False where it is not to be asked now."""
        if self._dialect is None and not self.closed:
            body: dict[str, object] = {}
            for dialect in TOKENIZE_DIALECTS:
                body |= dialect.body(model, _PROBE)
            self._dialect = await self._ask(body, self._identify)
        return not self.closed

    async def count(self, model: str, text: str) -> int | None:
        """Count one text; None where the server does not, and is not asked again for a while."""
        dialect = self._dialect
        if dialect is None or self.closed:
            return None
        return await self._ask(dialect.body(model, text), dialect.tokens)

    async def identity(self, model: str) -> str | None:
        """Ask what the server has under a name; empty if it does not say, None if it is gone."""
        dialect = self._dialect
        if dialect is None:
            return None
        try:
            document = await self._transport.get(dialect.about, _DEADLINE_S)
        except ProviderError as error:
            if not error.retryable or error.upstream_status in _NO_ROUTE:
                return ""
            self.close(_FAILED_S, type(error).__name__)
            return None
        return dialect.identity(document, model)

    def close(self, wait_s: float = _FAILED_S, why: str = "TimedOut") -> None:
        """Ask no more for a while, and then from the beginning: it may be another server."""
        if not self.closed:
            logger.debug("tokens are estimated", provider=self.connection.name, error=why)
        self.failures += 1
        self._dialect = None
        self._not_before = asyncio.get_running_loop().time() + wait_s

    async def aclose(self) -> None:
        """Close all connections."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait({self._reopening})
        await self._transport.aclose()

    async def _reopen(self, model: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            if await self.open(model):
                begun_at = loop.time()
                await self.count(model, _PROBE)
                await self.identity(model)
                if loop.time() - begun_at > _SLOW_S:
                    self.close(_SLOW_PAUSE_S, "slow")
        finally:
            self._reopening = None

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

    def _identify(self, document: bytes) -> TokenizeDialect | None:
        return next((dialect for dialect in TOKENIZE_DIALECTS if dialect.tokens(document)), None)


class ServerTokenizer:
    """A `Tokenizer` that asks the server of its model.

    Keeps what was counted, so that a history too long for one deadline is counted in a few.
    """

    def __init__(self, route: TokenizeRoute, model: str) -> None:
        """Count for `model`; counts of its name are never mixed with another model's."""
        self._route = route
        self._model = model
        self._kept: OrderedDict[bytes, int] = OrderedDict()
        self._identity: str | None = None
        self._sure_until = 0.0
        self._failures = 0
        # How long the quickest small text of a round took.
        self._quickest_s = 0.0

    @property
    def name(self) -> str:
        """Name the model and its server, and what the server says it has under that name.

        That is "?" before the server was asked, which the first count does.
        """
        known = "?" if self._identity is None else self._identity or "-"
        return f"{self._route.connection.name}:{self._model}@{self._route.address}.{known}"

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:  # noqa: D102 - see the port
        valid = [text.encode("utf-8", "replace") for text in texts]
        if any(len(text) > _MOST_BYTES for text in valid):
            return None
        if self._failures != self._route.failures:
            self._forget()
        keys = [blake2b(text, digest_size=16).digest() for text in valid]
        found = {key: 0 for key, text in zip(keys, valid, strict=True) if not text}
        found |= {key: self._kept[key] for key in keys if key in self._kept}
        asked = {k: text.decode() for k, text in zip(keys, valid, strict=True) if k not in found}
        identity = self._identity
        if asked and self._route.ready(self._model) and not await self._ask(asked, found):
            return None
        # What was counted by two models is no count, nor what is named after the first one.
        if identity not in (None, self._identity) or not found.keys() >= asked.keys():
            return None
        return [found[key] for key in keys]

    def _forget(self) -> None:
        self._failures = self._route.failures
        self._kept.clear()
        self._sure_until = 0.0

    async def _ask(self, asked: dict[bytes, str], found: dict[bytes, int]) -> bool:
        """Ask until all is found or the time is over; False if it is not known by which model."""
        before = len(found)
        begun_at = asyncio.get_running_loop().time()
        self._quickest_s = 0.0
        try:
            async with asyncio.timeout(_DEADLINE_S):
                if await self._route.open(self._model):
                    await self._side_by_side(asked, found)
        except TimeoutError:
            if len(found) == before or self._sure_until <= begun_at:
                self._route.close()
        if self._quickest_s > _SLOW_S and not self._route.closed:
            self._route.close(_SLOW_PAUSE_S, "slow")
        if self._sure_until <= begun_at:
            self._kept.clear()
        return self._sure_until > begun_at

    async def _side_by_side(self, asked: dict[bytes, str], found: dict[bytes, int]) -> None:
        waiting = iter(asked.items())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._learn())
            for _ in range(min(_SIDE_BY_SIDE, len(asked))):
                group.create_task(self._count(waiting, found))

    async def _learn(self) -> None:
        """Make sure, now and then, that it is still the same model."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        if begun_at < self._sure_until:
            return
        identity = await self._route.identity(self._model)
        if identity is None:
            return
        if self._identity not in (None, identity):
            self._kept.clear()
        self._identity = identity
        self._sure_until = loop.time() + max(_SURE_S, _SURE_TIMES * (loop.time() - begun_at))

    async def _count(self, waiting: Iterator[tuple[bytes, str]], found: dict[bytes, int]) -> None:
        loop = asyncio.get_running_loop()
        for key, text in waiting:
            begun_at = loop.time()
            tokens = await self._route.count(self._model, text)
            if tokens is None:
                return
            if len(text) <= _SMALL_BYTES:
                took_s = loop.time() - begun_at
                self._quickest_s = min(self._quickest_s or took_s, took_s)
            found[key] = self._kept[key] = tokens
            if len(self._kept) > _KEPT_COUNTS:
                self._kept.popitem(last=False)
