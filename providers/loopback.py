"""Loopback: the model servers that already run on this machine, found and identified.

A port says nothing about who listens on it, so each server is asked for something that only it
says, and is believed only then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from parley.chat.errors import ProviderError
from providers.config import Connection, Deadlines, LoopbackPorts, Offer
from providers.transport import Transport

# Three ports that nobody listens on cost 0.4 ms; the time is for one that accepts and is silent.
_PROBE_S = 0.2

T = TypeVar("T")


class _Version(msgspec.Struct):
    version: str


class _Listed(msgspec.Struct):
    id: str
    owned_by: str = ""


class _List(msgspec.Struct):
    data: list[_Listed] | None  # Ollama without models


class _LMStudioModel(msgspec.Struct):
    id: str
    type: str
    state: str
    compatibility_type: str


class _LMStudioList(msgspec.Struct):
    data: list[_LMStudioModel]


class _TGIInfo(msgspec.Struct):
    model_id: str
    max_total_tokens: int


class _Server:
    """A server to be identified: reads its documents as one type each."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self, path: str, kind: type[T]) -> T:
        """Raises `ProviderError`, and msgspec's errors for a document of another kind."""
        return msgspec.json.decode(await self._transport.get(path, _PROBE_S), type=kind)


async def _ollama(server: _Server) -> str | None:
    """https://docs.ollama.com/api-reference/get-version."""
    await server.read("/api/version", _Version)
    return _chat_model(await server.read("/v1/models", _List))


async def _lmstudio(server: _Server) -> str | None:
    """Name a loaded model before one that would have to be loaded first.

    https://lmstudio.ai/docs/developer/rest/endpoints
    """
    listed = (await server.read("/api/v0/models", _LMStudioList)).data
    chat = [model for model in listed if model.type in {"llm", "vlm"}]
    chat.sort(key=lambda model: model.state != "loaded")
    return chat[0].id if chat else None


async def _llamacpp(server: _Server) -> str | None:
    listed = await server.read("/v1/models", _List)
    ours = [model for model in listed.data or () if model.owned_by == "llamacpp"]
    return _chat_model(_List(ours))


async def _tgi(server: _Server) -> str | None:
    """TGI takes any other name than "tgi" for that of an adapter."""
    await server.read("/info", _TGIInfo)
    return "tgi"


Identify = Callable[[_Server], Awaitable[str | None]]

_SERVERS: dict[str, tuple[str, Identify]] = {
    "ollama": ("Ollama", _ollama),
    "lmstudio": ("LM Studio", _lmstudio),
    "llamacpp": ("llama.cpp", _llamacpp),
    "tgi": ("Text Generation Inference", _tgi),
}
LOCAL_PROVIDERS = frozenset(_SERVERS)


async def detect(ports: LoopbackPorts, deadlines: Deadlines) -> list[Offer]:
    """Look for all servers at once, each for 200 ms; those that have a model, in fixed order.

    `deadlines` are those of the connections that are offered.
    """
    async with asyncio.TaskGroup() as probes:
        found = [
            probes.create_task(_probe(name, getattr(ports, name), deadlines)) for name in _SERVERS
        ]
    return [offer for task in found if (offer := task.result()) is not None]


async def _probe(name: str, port: int, deadlines: Deadlines) -> Offer | None:
    title, identify = _SERVERS[name]
    root = f"http://127.0.0.1:{port}"
    transport = Transport(Connection(name, root))
    try:
        async with asyncio.timeout(_PROBE_S):
            model = await identify(_Server(transport))
    except (ProviderError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    finally:
        await transport.aclose()
    if model is None:
        return None
    connection = Connection(name, f"{root}/v1", deadlines=deadlines)
    return Offer(connection, model, f"{title} answers on 127.0.0.1:{port}")


def _chat_model(listed: _List) -> str | None:
    """The first model that is not one for embeddings: no server's plain list tells them apart."""
    return next((m.id for m in listed.data or () if "embed" not in m.id.lower()), None)
