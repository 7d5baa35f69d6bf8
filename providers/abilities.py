"""Abilities: what servers on one's own machine tell of a model outside OpenAI's dialect.

| owner in the list | asked | tells |
|---|---|---|
| `llamacpp` | `GET /props` | whether the chat template knows tools, images |
| `library` (Ollama) | `POST /api/show` for each model | tools, vision, thinking |
| `organization_owner` (LM Studio) | `GET /api/v0/models` | tools, vision, windows |

Whoever does not answer, or in other words, has told nothing: that is no error.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from parley.chat.errors import ProviderError
from parley.chat.models import Capabilities
from providers.config import Connection
from providers.listing import Listed
from providers.transport import Transport

_ASK_S = 1.0
# Of Ollama, where each model is a question of its own.
_MOST_ASKED = 32


class AbilitiesRoute:
    """Asks one server for the abilities of the models that it lists."""

    def __init__(self, connection: Connection) -> None:
        """Take a connection whose address may end in ``/v1``."""
        root = connection.base_url.removesuffix("/v1")
        self._transport = Transport(replace(connection, base_url=root))

    async def complete(self, listed: Sequence[Listed]) -> list[Listed]:
        """Add what the server tells; never raises."""
        match {model.owner for model in listed}:
            case owners if "llamacpp" in owners:
                return await self._llama(listed)
            case owners if "library" in owners:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._shown(m)) for m in listed[:_MOST_ASKED]]
                return [*(task.result() for task in tasks), *listed[_MOST_ASKED:]]
            case owners if "organization_owner" in owners:
                return await self._lm_studio(listed)
            case _:
                return list(listed)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _llama(self, listed: Sequence[Listed]) -> list[Listed]:
        props = await self._document("/props")
        can, sees = _dict(props.get("chat_template_caps")), _dict(props.get("modalities"))
        tools, vision = can.get("supports_tools") is True, sees.get("vision") is True
        return [_able(model, tools=tools, vision=vision) for model in listed]

    async def _shown(self, model: Listed) -> Listed:
        shown = await self._document("/api/show", {"model": model.name})
        can = shown.get("capabilities")
        words = can if isinstance(can, list) else []
        return _able(
            model,
            tools="tools" in words,
            vision="vision" in words,
            reasoning="thinking" in words,
        )

    async def _lm_studio(self, listed: Sequence[Listed]) -> list[Listed]:
        rows = (await self._document("/api/v0/models")).get("data")
        by_id = {row.get("id"): row for row in map(_dict, rows if isinstance(rows, list) else ())}
        return [_of_lm_studio(model, by_id.get(model.name, {})) for model in listed]

    async def _document(self, path: str, body: object = None) -> dict[str, Any]:
        """Ask for a JSON object; an empty one where there is none."""
        with suppress(ProviderError, msgspec.DecodeError, UnicodeDecodeError):
            if body is None:
                return _dict(msgspec.json.decode(await self._transport.get(path, _ASK_S)))
            return _dict(msgspec.json.decode(await self._transport.ask(path, body, _ASK_S)))
        return {}


def _of_lm_studio(model: Listed, row: dict[str, Any]) -> Listed:
    can = row.get("capabilities")
    windows = (row.get("loaded_context_length"), row.get("max_context_length"))
    window = next((n for n in windows if isinstance(n, int) and n > 0), None)
    able = _able(
        model,
        tools=isinstance(can, list) and "tool_use" in can,
        vision=row.get("type") == "vlm",
    )
    known = able.capabilities.context_window or window
    capabilities = replace(able.capabilities, context_window=known)
    return msgspec.structs.replace(able, capabilities=capabilities)


def _able(
    model: Listed, *, tools: bool = False, vision: bool = False, reasoning: bool = False
) -> Listed:
    had: Capabilities = model.capabilities
    capabilities = replace(
        had,
        tools=had.tools or tools,
        vision=had.vision or vision,
        reasoning=had.reasoning or reasoning,
    )
    return msgspec.structs.replace(model, capabilities=capabilities)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
