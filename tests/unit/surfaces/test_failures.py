"""Every error that leaves an HTTP route has the same shape, and the id that the log has."""

from uuid import uuid4

import pytest
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, FastAPI

from parley.chat import errors
from parley.chat.errors import ParleyError
from parley.surfaces.http.failures import add_failure_handlers
from parley.surfaces.unknown import unknown_routes
from tests.unit.surfaces.asgi import client_of, hello

# The promise: docs say these pairs, clients match on them.
STATUS_OF_CODE = {
    "invalid_request": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "restarted": 409,
    "too_large": 413,
    "rate_limited": 429,
    "unknown_model": 404,
    "context_too_long": 400,
    "context_changed": 422,
    "context_foreign": 403,
    "context_expired": 422,
    "context_key_unknown": 422,
    "context_too_large": 413,
    "content_filtered": 400,
    "provider_unavailable": 502,
    "provider_timeout": 504,
    "provider_rejected": 502,
    "storage_unavailable": 503,
    "shutting_down": 503,
    "internal": 500,
}
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ParleyError)
]


def app_that_raises(error: Exception) -> FastAPI:
    app, router = FastAPI(), APIRouter()
    add_failure_handlers(app)
    app.add_middleware(CorrelationIdMiddleware, generator=lambda: uuid4().hex, validator=None)

    @router.get("/fails")
    async def fails() -> None:
        raise error

    app.include_router(router)
    app.router.routes.extend(unknown_routes([router]))
    app.mount("/", hello)
    return app


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_has_its_code_and_status(kind: type[ParleyError]) -> None:
    error = (
        errors.TimedOut("Do this.", phase="idle") if kind is errors.TimedOut else kind("Do this.")
    )
    async with client_of(app_that_raises(error)) as client:
        response = await client.get("/fails", headers={"x-request-id": "abc"})
    assert response.status_code == STATUS_OF_CODE[kind.code]
    assert response.json() == {
        "error": {"code": kind.code, "message": "Do this.", "request_id": "abc"}
    }


def test_every_code_has_an_error() -> None:
    assert {kind.code for kind in KINDS} == set(STATUS_OF_CODE)


@pytest.mark.parametrize(("after_s", "header"), [(0.2, "1"), (5, "5"), (61.4, "61")])
async def test_says_when_to_try_again(after_s: float, header: str) -> None:
    error = errors.RateLimited("Wait.", retry_after_s=after_s)
    async with client_of(app_that_raises(error)) as client:
        assert (await client.get("/fails")).headers["retry-after"] == header


async def test_the_unexpected_tells_no_details() -> None:
    async with client_of(app_that_raises(RuntimeError("secret detail"))) as client:
        response = await client.get("/fails", headers={"x-request-id": "abc"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert response.json()["error"]["request_id"] == "abc"
    assert response.headers.get_list("x-request-id") == ["abc"]
    assert "secret" not in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "BREW"])
async def test_a_wrong_method_is_ours_to_refuse(method: str) -> None:
    """A mount answers all that is left: without a refusal of ours, it would be the page."""
    async with client_of(app_that_raises(RuntimeError())) as client:
        response = await client.request(method, "/fails")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    if method != "HEAD":
        assert response.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/x/y", "/v1", "/v1/chat/completions"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_unknown_paths_of_the_api_are_not_the_page(path: str, method: str) -> None:
    async with client_of(app_that_raises(RuntimeError())) as client:
        response = await client.request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/apiary", "/v12", "/thread/x"])
async def test_all_that_is_left_is_the_pages(path: str) -> None:
    async with client_of(app_that_raises(RuntimeError())) as client:
        assert (await client.get(path)).text == "hello"
