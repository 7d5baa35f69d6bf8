"""Answers: shapes as JSON, private to whoever asked."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from parley.surfaces.owners import PRIVATE

_encode = msgspec.json.Encoder().encode


def json_answer(
    shape: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Render a shape; `headers` are those of `owner_of_api` where there are some."""
    return Response(_encode(shape), status, headers or PRIVATE, "application/json")
