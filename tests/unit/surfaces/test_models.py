"""The list of models: for whoever may chat, with what is known of health at this moment."""

from collections.abc import Mapping, Sequence

from fastapi import FastAPI

from parley.auth.callers import Callers
from parley.auth.guests import Guests
from parley.auth.keys import Secret
from parley.chat.models import Capabilities, Health, HealthState, ModelInfo
from parley.surfaces.http.failures import add_failure_handlers
from parley.surfaces.models import HealthShape, model_routes
from tests.unit.surfaces.asgi import client_of

SECRET = Secret("s" * 32)
DOWN = Health(
    HealthState.DOWN, "openai cannot be reached.", for_operator="openai at 10.0.0.7:80 cannot."
)


class TwoModels:
    """One that is down, and one of which nobody knows yet."""

    def models(self) -> Sequence[ModelInfo]:
        return [
            ModelInfo("a", "openai", "m", "A", Capabilities(4096, tools=True)),
            ModelInfo("b", "tgi", "tgi", "B"),
        ]

    async def health(self) -> Mapping[str, Health]:
        return {"a": DOWN}


def app(*, allow_guests: bool) -> FastAPI:
    callers = Callers(SECRET, Guests(SECRET, secure=False), allow_guests=allow_guests)
    made = FastAPI()
    add_failure_handlers(made)
    made.include_router(model_routes(TwoModels(), callers, "/api/v1"))
    return made


async def test_health_is_as_far_as_it_is_known() -> None:
    async with client_of(app(allow_guests=True)) as client:
        a, b = (await client.get("/api/v1/models")).json()["data"]
    assert a["health"] == {"state": "down", "reason": "openai cannot be reached."}
    assert b["health"] == {"state": "unknown", "reason": ""}
    assert (a["default"], b["default"]) == (True, False)
    assert (a["context_window"], a["abilities"]["tools"]) == (4096, True)


def test_who_runs_the_server_is_told_where_too() -> None:
    assert HealthShape.for_admins(DOWN).reason == DOWN.for_operator
    refused = Health(HealthState.DEGRADED, "openai failed (500): no disk.", "openai failed (500).")
    assert HealthShape.for_admins(refused).reason == refused.reason
    well = Health(HealthState.OK, "not loaded yet")
    assert HealthShape.for_admins(well).reason == well.reason


async def test_nobody_is_told_without_guests() -> None:
    async with client_of(app(allow_guests=False)) as client:
        response = await client.get("/api/v1/models")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
