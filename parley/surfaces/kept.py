"""Kept: bodies of requests that are kept for good; a large one counts as several requests."""

from starlette.requests import Request

from parley.auth.callers import Callers
from parley.chat.turns import Owner
from parley.surfaces.http.bodies import check_json, read_body

# So much of a body is a request's own; what is more counts as if it came in further ones. Else one who may
# make 600 requests in a minute could write gigabytes.
_REQUEST_BYTES = 64 * 1024


async def read_kept(
    request: Request,
    callers: Callers,
    owner: Owner,
    limit_bytes: int,
    limit_name: str = "LIMIT_BODY_BYTES",
) -> bytes:
    """Read a JSON body that is to be kept; raises what `read_body` does, and `RateLimited`."""
    check_json(request)
    body = await read_body(request, limit_bytes, limit_name=limit_name)
    if callers.limits and (more := len(body) // _REQUEST_BYTES):
        await callers.limits.check_request(owner, more)
    return body
