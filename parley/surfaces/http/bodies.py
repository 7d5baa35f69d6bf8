"""Bodies: what a client sent, bounded and parsed, or a clear refusal."""

import asyncio
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec
from starlette.requests import ClientDisconnect, Request

from parley.chat.errors import InvalidRequest, TooLarge

T = TypeVar("T")

NO_FORM = "This form does not fit."


async def decode_body(request: Request, shape: type[T], limit_bytes: int) -> T:
    """Read a JSON body of this shape.

    Raises `TooLarge` without reading on, and `InvalidRequest` for a content type that is not
    JSON, for malformed JSON, and for a value that does not fit.
    """
    check_json(request)
    return decoded(await read_body(request, limit_bytes), shape)


def decoded(body: bytes, shape: type[T]) -> T:
    """Parse JSON of this shape; raises `InvalidRequest`."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body does not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


async def read_form(request: Request, limit_bytes: int, most_fields: int) -> dict[str, list[str]]:
    """Read the body of a form; raises what `read_body` does, and `InvalidRequest`."""
    body = await read_body(request, limit_bytes)
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=most_fields)
    except ValueError:
        raise InvalidRequest(NO_FORM) from None


def check_json(request: Request) -> None:
    """Raise `InvalidRequest` for a content type that is not JSON."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise InvalidRequest("Send JSON, with the header content-type: application/json.")


async def read_body(
    request: Request,
    limit_bytes: int,
    within_s: float = 30,
    limit_name: str = "LIMIT_BODY_BYTES",
) -> bytes:
    """Read the body, refusing as soon as it is known to be over its limit, or too slow."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes, limit_name)
    try:
        async with asyncio.timeout(within_s):
            return await _read(request, limit_bytes, limit_name)
    except TimeoutError:
        raise InvalidRequest(f"The body did not arrive within {within_s} seconds.") from None
    except ClientDisconnect:
        raise InvalidRequest("The connection was closed before the body was complete.") from None


async def _read(request: Request, limit_bytes: int, limit_name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes, limit_name)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit_bytes: int, limit_name: str) -> TooLarge:
    return TooLarge(f"The body is larger than {limit_bytes} bytes ({limit_name}).")
