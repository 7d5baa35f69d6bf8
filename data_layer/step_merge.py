"""Step merge: what a row becomes by a write, in whatever order writes come, and however often.

Chainlit starts its writes and waits for none. What a row becomes is therefore decided by what
wrote it and never by when that arrived: the newest update has the last word, and creates and older
updates only fill what no update has given. For that a step's `extra` holds, beside the `keys`
without a column, the number of the newest update and the columns that are still `open`. Pure.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from data_layer.rows import AnyRow
from data_layer.step_dicts import StepWrite

# What a row has where no write gave it.
_ASSUMED: dict[str, Any] = {
    "name": "",
    "type": "undefined",
    "parent_id": None,
    "input": "",
    "output": "",
    "is_error": False,
    "metadata": {},
    "generation": None,
    "started_at": None,
    "ended_at": None,
    "favorite_at": None,
}
_ALL_COLUMNS = (*_ASSUMED, "created_at")


class Stamps:
    """Numbers updates in the order in which Chainlit asked for them, across restarts too."""

    def __init__(self) -> None:
        """Begin at the present time."""
        self._last = 0

    def next(self) -> int:
        """Give a number above all before it, about the microseconds since 1970."""
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


def inserted(write: StepWrite, now: datetime) -> dict[str, Any]:
    """Give the columns of a new row, ids and place apart."""
    row = {**_ASSUMED, "created_at": now, **write.values}
    if write.favorite:
        row["favorite_at"] = now
    return {**row, "extra": _after_update(write, None) or {"keys": dict(write.extra)}}


def changed(row: AnyRow, write: StepWrite, now: datetime) -> dict[str, Any]:
    """Give what a write changes of a row that is there, in whatever order it came."""
    wanted = dict(write.values)
    if write.favorite is not None:
        wanted["favorite_at"] = (row.favorite_at or now) if write.favorite else None
    if row.turn_id is not None:
        new = {} if write.updated_at is None else _only(wanted, "favorite_at")
    elif extra := _after_update(write, row):
        new = {**wanted, "extra": extra}
    else:
        state = row.extra or {}
        new = {column: value for column, value in wanted.items() if _fills(row, column, value)}
        new["extra"] = {**state, "keys": {**write.extra, **state.get("keys", {})}}
    return {column: value for column, value in new.items() if row._mapping[column] != value}


def _after_update(write: StepWrite, row: AnyRow | None) -> dict[str, Any] | None:
    """Give the row's `extra` if the write is the newest update of it; None otherwise."""
    state = (row.extra if row else None) or {}
    if write.updated_at is None or write.updated_at < state.get("updated_at", 0):
        return None
    given = {*write.values, *(["favorite_at"] if write.favorite is not None else [])}
    still_open = [name for name in state.get("open", _ALL_COLUMNS) if name not in given]
    return {
        "keys": {**state.get("keys", {}), **write.extra},
        "updated_at": write.updated_at,
        "open": still_open,
    }


def _fills(row: AnyRow, column: str, value: Any) -> bool:
    """Whether a value goes where no update has given one, and nothing is taken away by it."""
    if column not in (row.extra or {}).get("open", _ALL_COLUMNS):
        return False
    there = row._mapping[column]
    if column == "created_at":
        return bool(value < there)
    return bool(there == _ASSUMED[column])


def _only(values: Mapping[str, Any], *columns: str) -> dict[str, Any]:
    return {column: values[column] for column in columns if column in values}
