"""Refusals: what the page's requests are refused with, in the shape and language that it shows."""

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from parley.chat.errors import ParleyError
from parley.surfaces.http.failures import refused
from parley.surfaces.page.languages import liked_by
from parley.surfaces.sentences import error_text
from parley.surfaces.texts import texts_of


def refusal(scope: Scope, error: ParleyError) -> JSONResponse:
    """Render an error as every route does, with the `detail` besides that the page shows."""
    response = refused(scope["path"], error)
    texts = texts_of(liked_by(HTTPConnection(scope)))
    detail = error_text(texts, error.message, error.code)
    headers = {"retry-after": after} if (after := response.headers.get("retry-after")) else None
    shown = {**msgspec.json.decode(response.body), "detail": detail}
    return JSONResponse(shown, response.status_code, headers)


async def refusal_handler(request: Request, error: Exception) -> Response:
    """Answer with it, for Chainlit's app."""
    assert isinstance(error, ParleyError)
    return refusal(request.scope, error)
