"""Storable: values from outside made fit for a database, nested JSON included.

No database takes NUL and lone surrogates, PostgreSQL's JSON no NaN; what is no JSON at all becomes
None, as Chainlit's own encoder has it.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from parley.chat.errors import InvalidRequest, TooLarge
from parley.chat.messages import storable_text

LARGEST_JSON_BYTES = 1024 * 1024
_DEEPEST = 100


def storable_json(value: object, *, depth: int = 0) -> Any:
    """Copy a JSON value, made storable; raises `InvalidRequest` where it is nested too deep."""
    if depth > _DEEPEST:
        raise InvalidRequest(f"This is nested deeper than {_DEEPEST} levels. Make it flatter.")
    if isinstance(value, str):
        return storable_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            storable_text(str(key)): storable_json(item, depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [storable_json(item, depth=depth + 1) for item in value]
    return None


def check_size(value: object, what: str) -> None:
    """Raise `TooLarge` for a JSON value of more than 1 MiB."""
    size = len(json.dumps(value))
    if size > LARGEST_JSON_BYTES:
        raise TooLarge(f"The {what} has {size} bytes, the limit is {LARGEST_JSON_BYTES}.")


def uuid_of(value: object) -> str:
    """Read an id as a client may spell it; raises `InvalidRequest` for what is none."""
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise InvalidRequest("This id is not a UUID. Send the id that you were given.") from None


def uuid_or_none(value: object) -> str | None:
    """Read an id; None for what is none."""
    try:
        return uuid_of(value)
    except InvalidRequest:
        return None


def moment_of(value: object) -> datetime:
    """Read an ISO time with its zone as aware UTC; raises `InvalidRequest` for any other."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment and moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidRequest("This is no ISO time with its zone, like 2026-01-02T12:00:00Z.")


def iso(moment: datetime) -> str:
    """Write a time as the page reads it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
