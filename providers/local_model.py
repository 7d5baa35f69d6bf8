"""A local model: one GGUF file, and llama.cpp's own server that has it loaded.

The server is a process of its own. Inside Parley's, the constructor of llama.cpp's binding would
hold Python's lock for as long as a model loads, seconds for a real one, and a damaged file or a lack
of memory would end Parley with it. It listens on loopback, on a port and with a key that are new
each time, and is spoken to in OpenAI's dialect.
"""

import asyncio
import os
import re
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from parley.chat.errors import ModelMissing, ProviderError, TimedOut, Unreachable
from parley.chat.models import Capabilities, ModelInfo, Sampling
from parley.observability.logs import get_logger
from providers.complaints import one_line
from providers.config import Connection
from providers.embedded import is_installed
from providers.gguf_header import GgufHeader, read_header
from providers.openai_compatible import OpenAICompatible
from providers.references import is_path
from providers.weights import find_weights

logger = get_logger(__name__)

# Of one answer; a small model on a small machine has no memory for more.
CONTEXT_TOKENS = 4096
# Answers at a time: they share the cores, so that more would all be slower.
_PARALLEL = 2
_LOAD_S = 300.0
_DYING_S = 0.5
_CHILD = Path(__file__).with_name("llama_child.py")
_MARK = "error loading model: "
_MOST_SAID = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Weights:
    """A GGUF file that was found, and what it says of itself."""

    path: Path
    header: GgufHeader

    @property
    def window(self) -> int:
        """The context window of one answer, in tokens."""
        own = self.header.context_window
        return min(own, CONTEXT_TOKENS) if own else CONTEXT_TOKENS

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template knows tools: llama.cpp reads them over where it does not."""
        return re.search(r"\btools\b", self.header.chat_template) is not None


@dataclass(frozen=True, slots=True)
class _Running:
    """A server that has loaded its model."""

    process: Process
    provider: OpenAICompatible

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def aclose(self) -> None:
        await self.provider.aclose()
        await _end(self.process)


class LocalModel:
    """One model on this machine, loaded when it is first asked, and again after its server died.

    `source` is a path, or names a file in the Hub's cache (`weights.py`), by default as `name`
    does; nothing is ever fetched. The context window is the model's own up to `CONTEXT_TOKENS`.
    """

    def __init__(
        self, connection: Connection, name: str, defaults: Sampling, source: str = ""
    ) -> None:
        """Stand for a model; its file is not looked at yet."""
        self.name = name
        self.source = source or name
        self._connection = connection
        self._defaults = defaults
        self._starting = asyncio.Lock()
        self._running: _Running | None = None
        self._closed = False

    @property
    def loaded(self) -> OpenAICompatible | None:
        """The provider of the server that runs now."""
        running = self._running
        return running.provider if running is not None and running.alive else None

    async def info(self) -> ModelInfo:
        """Describe the model from its file, which is not loaded for it; raises `ModelMissing`."""
        weights = await self._weights()
        provider, name = self._connection.name, self.name
        capabilities = Capabilities(context_window=weights.window, tools=weights.takes_tools)
        label = weights.header.name or weights.path.stem
        return ModelInfo(f"{provider}:{name}", provider, name, label, capabilities)

    async def server(self) -> OpenAICompatible:
        """Give the running server's provider, starting it if need be; raises `ProviderError`."""
        async with self._starting:
            if self._closed:
                raise self._error(Unreachable, "is closed. Try again.")
            if self._running is not None and not self._running.alive:
                dead, self._running = self._running, None
                logger.warning("local model died", code=dead.process.returncode)
                await dead.aclose()
            if self._running is None:
                self._running = await self._start(await self._weights())
            return self._running.provider

    async def settle(self) -> None:
        """After a connection broke: wait a moment for a death that is not known of yet.

        Another attempt then finds a new server, and not the one that is dying.
        """
        if self._running is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await self._running.process.wait()

    async def aclose(self) -> None:
        """End the server; it does not start again."""
        self._closed = True
        async with self._starting:
            running, self._running = self._running, None
            if running is not None:
                await running.aclose()

    async def _start(self, weights: _Weights) -> _Running:
        begun_at = asyncio.get_running_loop().time()
        key = secrets.token_urlsafe(32)
        process = await self._spawn(weights)
        try:
            address = await self._loaded(process, self._options(weights, key), weights)
        except BaseException:
            await _end(process)
            raise
        took_s = asyncio.get_running_loop().time() - begun_at
        logger.info("local model loaded", model=weights.path.stem, seconds=round(took_s, 2))
        connection = replace(
            self._connection,
            base_url=f"{address}/v1",
            api_key=key,
            # llama.cpp drops a connection after a stream without saying so: the next answer on it,
            # if it comes at once, would break.
            headers={"Connection": "close"},
            url_setting="that there is enough memory",  # it died, or is dying
        )
        return _Running(process, OpenAICompatible(connection, self._defaults))

    async def _spawn(self, weights: _Weights) -> Process:
        if not is_installed():
            raise self._error(
                ModelMissing,
                f"cannot serve {weights.path.name}: llama.cpp is not installed."
                " Install the extra: pip install 'parley[local]'.",
            )
        # A session of its own: Ctrl-C is for Parley, which lets answers end first.
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(_CHILD)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )

    async def _loaded(self, process: Process, options: bytes, weights: _Weights) -> str:
        """Wait for the server's address."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(_LOAD_S):
                with suppress(ConnectionError):
                    process.stdin.write(options)
                    await process.stdin.drain()
                line = await process.stdout.readline()
                if line:
                    return line.decode().strip()
                said = (await process.stderr.read(_MOST_SAID)).decode("utf-8", "replace")
                code = await process.wait()
        except TimeoutError as exc:
            message = f"{self._connection.name} did not load {weights.path.name} in time."
            raise TimedOut(message, phase="connect", provider=self._connection.name) from exc
        raise self._not_loaded(weights.path, said, code)

    def _options(self, weights: _Weights, key: str) -> bytes:
        options = {
            "path": str(weights.path),
            "alias": weights.path.stem,
            "api_key": key,
            "threads": max(1, _cores() - 1),
            "context_tokens": weights.window,
            "parallel": _PARALLEL,
        }
        return msgspec.json.encode(options) + b"\n"

    async def _weights(self) -> _Weights:
        """Find the file; raises `ModelMissing` with the command that fetches it, or the reason."""
        path = await asyncio.to_thread(find_weights, self.source)
        shown = one_line(Path(self.source).name if is_path(self.source) else self.source)
        if path is None:
            mend = (
                f"Check {self._connection.model_setting}."
                if is_path(self.source)
                else f"Fetch it with: parley models pull {shown}"
            )
            raise self._error(ModelMissing, f"has no file {shown} on this machine. {mend}")
        try:
            return _Weights(path, await asyncio.to_thread(read_header, path))
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise self._unusable(path, reason or "it cannot be read") from exc

    def _not_loaded(self, path: Path, said: str, code: int) -> ProviderError:
        if code < 0:
            reason = f"llama.cpp died of signal {-code}; there may be too little memory"
        else:
            lines = [line.partition(_MARK)[2] for line in said.splitlines() if _MARK in line]
            reason = lines[-1] if lines else (said.splitlines() or ["no reason was given"])[-1]
        return self._unusable(path, reason.replace(str(path), path.name))

    def _unusable(self, path: Path, reason: str) -> ProviderError:
        mend = "Take another file, or delete it and fetch it again with: parley models pull"
        said = one_line(reason).rstrip(".")
        return self._error(ModelMissing, f"cannot load {one_line(path.name)}: {said}. {mend}")

    def _error(self, kind: type[ProviderError], what: str) -> ProviderError:
        return kind(f"{self._connection.name} {what}", provider=self._connection.name)


async def _end(process: Process) -> None:
    """Kill a server and wait: it has nothing to save."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


def _cores() -> int:
    """The cores that this process may use, as a container or taskset has it on Linux."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
