"""Ids: those that clients choose, 1 to 128 characters of ``A-Z a-z 0-9 . _ : -``."""

import re

from starlette.requests import Request

from parley.chat.errors import InvalidRequest

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def idempotency_key(request: Request) -> str | None:
    """Read the ``Idempotency-Key`` header; raises `InvalidRequest` where it is no id."""
    key = request.headers.get("idempotency-key")
    return None if key is None else checked_id(key, "Idempotency-Key")


def checked_id(id: str, what: str) -> str:
    """Give the id back; raises `InvalidRequest` where it is none."""
    if not ID_PATTERN.fullmatch(id):
        raise InvalidRequest(f"{what} must be 1 to 128 characters of A-Z a-z 0-9 . _ : and -.")
    return id
