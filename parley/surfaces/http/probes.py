"""Probes: is the process alive, can it serve, and what do its numbers say?"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from parley.chat.errors import ParleyError
from parley.observability import metrics

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def probe_routes(
    check_storage: Callable[[], Awaitable[None]],
    find_trouble: Callable[[], Awaitable[str | None]] | None,
    *,
    version: str,
    environment: str,
) -> APIRouter:
    """Make the routes.

    `check_storage` raises a `ParleyError` that says what is wrong; `find_trouble` says what is
    wrong with a server that Parley can do without: it is ready all the same.
    """
    router = APIRouter(tags=["probes"])

    @router.get("/health", summary="For load balancers: the process serves")
    async def health() -> dict[str, str]:
        return {"status": "healthy", "version": version, "environment": environment}

    @router.get("/livez", summary="For Kubernetes: the process is alive")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get(
        "/readyz",
        summary="For Kubernetes: the database answers and is migrated",
        responses={503: {"description": "It is not ready: the reason is in the answer"}},
    )
    async def readyz() -> JSONResponse:
        try:
            await check_storage()
        except ParleyError as error:
            return JSONResponse({"status": "not ready", "reason": error.message}, 503)
        if find_trouble and (trouble := await find_trouble()):
            return JSONResponse({"status": "degraded", "reason": trouble})
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", summary="Prometheus text", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        return Response(metrics.render(), media_type=_PROMETHEUS)

    return router
