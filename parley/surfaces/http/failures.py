"""Failures: every error that leaves an HTTP route has the same shape, and its line in the log."""

from collections.abc import Iterator

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from parley.chat.errors import InternalError, InvalidRequest, NotFound, ParleyError
from parley.chat.events import ErrorEvent
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_PATH_CHARS = 200
_OPENAI = "/v1/"
_OPENAI_TYPES = {
    "unauthenticated": "authentication_error",
    "forbidden": "permission_error",
    "rate_limited": "rate_limit_error",
}
INTERNAL = "Something went wrong here. The log has it under the id of this request."


def add_failure_handlers(app: FastAPI) -> None:
    """Render errors as ``{"error": {"code", "message", "request_id"}}``."""
    add_refusal_handlers(app)
    app.add_exception_handler(HTTPException, _http_error)


def add_refusal_handlers(app: FastAPI) -> None:
    """Leave `HTTPException` alone: for an app whose page reads those in its own shape."""
    app.add_exception_handler(ParleyError, _parley_error)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _unexpected)


def refused(path: str, error: ParleyError, status: int | None = None) -> JSONResponse:
    """Render an error in the shape of the path's clients, with its line in the log.

    `status` is HTTP's own word where it has a closer one than the error's.
    """
    status = status or error.status
    logger.warning("Refused", path=path[:_PATH_CHARS], code=error.code, status=status)
    response = failure(error, path)
    response.status_code = status
    return response


def failure(error: ParleyError, path: str = "") -> JSONResponse:
    """Render an error; ``Retry-After`` where it is known."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    body = openai_error(error) if f"{path}/".startswith(_OPENAI) else _error(error)
    return JSONResponse(body, status_code=error.status, headers=headers)


def openai_error(error: ParleyError) -> dict[str, object]:
    """Write an error as OpenAI does."""
    said = {"message": error.message, "type": _openai_type(error), "param": None}
    return {"error": {**said, "code": error.code, "request_id": correlation_id.get() or ""}}


def _error(error: ParleyError) -> dict[str, object]:
    said = {"code": error.code, "message": error.message}
    return {"error": {**said, "request_id": correlation_id.get() or ""}}


def _openai_type(error: ParleyError) -> str:
    if error.status >= 500:
        return "server_error"
    return _OPENAI_TYPES.get(error.code, "invalid_request_error")


class _Failed(ParleyError):
    """The error of a turn, as an event told it."""

    def __init__(self, event: ErrorEvent) -> None:
        super().__init__(event.message, retry_after_s=event.retry_after_s)
        self.code = event.code  # type: ignore[misc]  # of its class it is for every other error
        self.status = _STATUSES.get(event.code, 500)  # type: ignore[misc]


def error_of(event: ErrorEvent) -> ParleyError:
    """Make the error that a turn's event tells of."""
    return _Failed(event)


def _tree(error: type[ParleyError]) -> Iterator[type[ParleyError]]:
    yield error
    for below in error.__subclasses__():
        yield from _tree(below)


_STATUSES = {error.code: error.status for error in _tree(ParleyError)}


async def _parley_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ParleyError)
    return refused(request.url.path, error)


async def _unfit(request: Request, error: Exception) -> JSONResponse:
    """Name what does not fit, and not what was sent: it may be no JSON that could be sent back."""
    assert isinstance(error, RequestValidationError)
    places = {".".join(map(str, found["loc"])) for found in error.errors()}
    unfit = InvalidRequest(f"The request does not fit at: {', '.join(sorted(places))}.")
    return refused(request.url.path, unfit)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own refusals: no such route, or not with this method."""
    assert isinstance(error, HTTPException)
    known: ParleyError
    if error.status_code == 404:
        known = NotFound(f"There is nothing at {request.url.path}.")
    else:
        known = InvalidRequest(f"{request.method} is not possible at {request.url.path}.")
    response = refused(request.url.path, known, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    """Starlette raises the error again once this is sent, and the server logs it."""
    response = failure(InternalError(INTERNAL), request.url.path)
    # This answer goes out beyond the middleware that adds the header to every other.
    response.headers["x-request-id"] = correlation_id.get() or ""
    return response
