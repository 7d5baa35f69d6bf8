"""Failures: every error that leaves an HTTP route has the same shape, and its line in the log."""

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from parley.chat.errors import InternalError, InvalidRequest, NotFound, ParleyError
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_PATH_CHARS = 200
_INTERNAL = "Something went wrong here. The log has it under the id of this request."


def add_failure_handlers(app: FastAPI) -> None:
    """Render errors as ``{"error": {"code", "message", "request_id"}}``."""
    add_refusal_handlers(app)
    app.add_exception_handler(HTTPException, _http_error)


def add_refusal_handlers(app: FastAPI) -> None:
    """Leave `HTTPException` alone: for an app whose page reads those in its own shape."""
    app.add_exception_handler(ParleyError, _parley_error)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _unexpected)


def refused(path: str, error: ParleyError) -> JSONResponse:
    """Render an error, with its line in the log."""
    logger.warning("Refused", path=path[:_PATH_CHARS], code=error.code, status=error.status)
    return failure(error)


def failure(error: ParleyError) -> JSONResponse:
    """Render an error; ``Retry-After`` where it is known."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    body = {
        "error": {
            "code": error.code,
            "message": error.message,
            "request_id": correlation_id.get() or "",
        }
    }
    return JSONResponse(body, status_code=error.status, headers=headers)


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
    response = refused(request.url.path, known)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    """Starlette raises the error again once this is sent, and the server logs it."""
    response = failure(InternalError(_INTERNAL))
    # This answer goes out beyond the middleware that adds the header to every other.
    response.headers["x-request-id"] = correlation_id.get() or ""
    return response
