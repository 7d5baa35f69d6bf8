"""Storable: values from outside made fit for a database, nested JSON included.

No database takes NUL and lone surrogates, PostgreSQL's JSON no NaN; what is no JSON at all becomes
None, as Chainlit's own encoder has it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from parley.chat.errors import InvalidRequest, TooLarge
from parley.chat.messages import storable_text

LARGEST_JSON_BYTES = 1024 * 1024
_DEEPEST = 100
# NUL, and halves of surrogate pairs, as JSON in ASCII spells them; the pairs are looked at too.
_SUSPECT = re.compile(r"\\u(0000|d[89a-f])")


def storable_json(value: object) -> Any:
    """Copy a JSON value, made storable.

    Raises `TooLarge` for one of more than 1 MiB, `InvalidRequest` for one that is nested too deep.
    Measured before it is looked at piece by piece, which would hold up everybody for a large one.
    """
    try:
        text = json.dumps(value, default=_plain, skipkeys=True)
    except (RecursionError, ValueError):  # also for what refers to itself
        raise _too_deep() from None
    if len(text) > LARGEST_JSON_BYTES:
        raise TooLarge(f"This has {len(text)} bytes as JSON, the limit is {LARGEST_JSON_BYTES}.")
    copied = json.loads(text, parse_constant=_no_number)
    _check_depth(copied)
    return _cleaned(copied) if _SUSPECT.search(text) else copied


def _plain(value: object) -> Any:
    return dict(value) if isinstance(value, Mapping) else None


def _no_number(_: str) -> None:
    """NaN and the infinities are no JSON."""


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [item for one in level for item in _items(one)]
        if not level:
            return
    raise _too_deep()


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable_text(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"This is nested deeper than {_DEEPEST} levels. Make it flatter.")


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
    """Write a time as the page reads it; such texts are in the order of their times."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
