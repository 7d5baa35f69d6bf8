"""``GET {API_V1}/models``: which models can be chosen, what they can do, how they are doing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from parley.auth.callers import Callers
from parley.chat.models import Health, ModelInfo
from parley.surfaces.answers import json_answer
from parley.surfaces.http.schema import giving


class Models(Protocol):
    """The configured models, and the health of their providers."""

    def models(self) -> Sequence[ModelInfo]:
        """List the configured models, the default first."""
        ...

    async def health(self) -> Mapping[str, Health]:
        """How the models' providers are doing, by model id; never waits for a silent one."""
        ...


class Abilities(msgspec.Struct):
    """What a model is known to do."""

    tools: bool
    vision: bool
    reasoning: bool
    prefill: bool
    is_model: bool


class HealthShape(msgspec.Struct):
    """How a model's provider is doing; `reason` is empty where it is well."""

    state: str = "unknown"
    reason: str = ""

    @classmethod
    def of(cls, health: Health | None) -> "HealthShape":
        """Write how it is doing, as far as that is known."""
        return cls(health.state.value, health.reason) if health else cls()

    @classmethod
    def for_admins(cls, health: Health) -> "HealthShape":
        """Write how it is doing, with its address."""
        return cls(health.state.value, health.for_operator or health.reason)


class ModelShape(msgspec.Struct):
    """A model that can be chosen by its `id`; `model` is its provider's name for it."""

    id: str
    label: str
    provider: str
    model: str
    context_window: int | None
    abilities: Abilities
    health: HealthShape
    default: bool

    @classmethod
    def of(cls, info: ModelInfo, health: Health | None, *, default: bool) -> "ModelShape":
        """Write a model."""
        can = info.capabilities
        return cls(
            info.id,
            info.label,
            info.provider,
            info.name,
            can.context_window,
            Abilities(can.tools, can.vision, can.reasoning, can.prefill, can.is_model),
            HealthShape.of(health),
            default,
        )


class ModelList(msgspec.Struct):
    """All models, the default first."""

    data: list[ModelShape]
    next_cursor: str | None = None


def model_routes(models: Models, callers: Callers, prefix: str) -> APIRouter:
    """Make the route; whoever may chat may see what with."""
    router = APIRouter(prefix=prefix, tags=["models"])

    @router.get("/models", summary="List the models", responses=giving(ModelList))
    async def listed(request: Request) -> Response:
        callers.stateless(request)
        health = await models.health()
        infos = models.models()
        shapes = [ModelShape.of(i, health.get(i.id), default=i is infos[0]) for i in infos]
        return json_answer(ModelList(shapes))

    return router
