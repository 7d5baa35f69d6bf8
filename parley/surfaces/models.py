"""``GET {API_V1}/models``: which models can be chosen, what they can do, how they are doing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from parley.auth.callers import Callers
from parley.chat.models import Health, ModelInfo

_HEADERS = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


class Models(Protocol):
    """The configured models, and the health of their providers."""

    def models(self) -> Sequence[ModelInfo]:
        """List the configured models, the default first."""
        ...

    async def health(self) -> Mapping[str, Health]:
        """How the models' providers are doing, by model id; never waits for a silent one."""
        ...


def model_routes(models: Models, callers: Callers, prefix: str) -> APIRouter:
    """Make the route; whoever may chat may see what with."""
    router = APIRouter(prefix=prefix, tags=["models"])

    @router.get("/models", summary="List the models", response_class=JSONResponse)
    async def listed(request: Request) -> JSONResponse:
        callers.stateless(request)
        health = await models.health()
        infos = models.models()
        data = [_model_json(info, health.get(info.id), default=info is infos[0]) for info in infos]
        return JSONResponse({"data": data, "next_cursor": None}, headers=_HEADERS)

    return router


def _model_json(info: ModelInfo, health: Health | None, *, default: bool) -> dict[str, object]:
    can = info.capabilities
    return {
        "id": info.id,
        "label": info.label,
        "provider": info.provider,
        "model": info.name,
        "context_window": can.context_window,
        "abilities": {
            "tools": can.tools,
            "vision": can.vision,
            "reasoning": can.reasoning,
            "prefill": can.prefill,
            "is_model": can.is_model,
        },
        "health": {
            "state": health.state.value if health else "unknown",
            "reason": health.reason if health else "",
        },
        "default": default,
    }
