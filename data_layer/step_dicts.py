"""Step dicts: Chainlit's dictionaries of steps, read and shown at the edge.

A write is what the dictionary gives, by column; what has no column is kept as it came in `extra`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import ThreadDict

from data_layer.rows import AnyRow, uses_of
from data_layer.storable import (
    check_size,
    iso,
    moment_of,
    storable_json,
    uuid_of,
    uuid_or_none,
)
from data_layer.tables import IsoTime, steps
from parley.chat.errors import InvalidRequest
from parley.chat.messages import storable_text
from parley.chat.tool_display import result_markdown, step_title
from parley.chat.tools import ToolUse
from parley.chat.turns import Owner, TurnState, error_step_id, thought_step_id, tool_step_id

MESSAGE_TYPES = frozenset({"user_message", "assistant_message"})
_Reader = Callable[[Any], Any]
# No more than is shown: to read an id costs as much as all else of a column's row.
SHOWN_COLUMNS = (
    steps.c.id,
    steps.c.turn_id.is_not(None).label("of_turn"),
    *(
        steps.c[name]
        for name in (
            "parent_id",
            "arrival",
            "ordinal",
            "type",
            "name",
            "input",
            "output",
            "is_error",
            "metadata",
            "generation",
            "extra",
            "favorite_at",
        )
    ),
    *(
        sa.type_coerce(steps.c[name], IsoTime).label(name)
        for name in ("created_at", "started_at", "ended_at")
    ),
)
# What `shown_steps` wants to know of a turn beside its steps, where there is none.
OF_NO_TURN = tuple(
    sa.null().label(n)
    for n in ("reasoning", "error_message", "request_id", "state", "tools", "turn_id")
)


@dataclass(frozen=True, slots=True)
class StepWrite:
    """What a create or an update says of a step: values by column, and keys without one.

    `updated_at` orders updates (see step_merge.py); a create has none.
    """

    id: str
    thread_id: str
    values: Mapping[str, Any]
    extra: Mapping[str, Any]
    favorite: bool | None
    updated_at: int | None


def _text(value: object) -> str:
    if value is None:
        return ""
    return storable_text(value if isinstance(value, str) else json.dumps(storable_json(value)))


def _object(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest("Metadata and generation of a step must be objects with keys.")
    kept: dict[str, Any] = storable_json(value)
    check_size(kept, "step's metadata")
    return kept


def _metadata(value: object) -> dict[str, Any]:
    # Whether a step is a favourite has a column of its own.
    return {key: item for key, item in _object(value).items() if key != "favorite"}


def _optional_moment(value: object) -> datetime | None:
    return None if value is None else moment_of(value)


_COLUMNS: dict[str, tuple[str, _Reader]] = {
    "name": ("name", _text),
    "type": ("type", _text),
    "parentId": ("parent_id", uuid_or_none),
    "input": ("input", _text),
    "output": ("output", _text),
    "isError": ("is_error", bool),
    "metadata": ("metadata", _metadata),
    "generation": ("generation", lambda value: _object(value) or None),
    "createdAt": ("created_at", _optional_moment),
    "start": ("started_at", _optional_moment),
    "end": ("ended_at", _optional_moment),
}
# Keys that columns, other tables or the moment answer for.
_ELSEWHERE = frozenset({"id", "threadId", "streaming", "feedback"})
# A key of Chainlit's that is not here is kept all the same; contract.py says so in the log.
KNOWN_STEP_KEYS = (
    frozenset(_COLUMNS)
    | _ELSEWHERE
    | {
        "command",
        "modes",
        "waitForAnswer",
        "tags",
        "showInput",
        "defaultOpen",
        "autoCollapse",
        "language",
        "icon",
    }
)
# Of these an answer without text is shown, for its note and its buttons.
_SAY_WHY_EMPTY = frozenset({TurnState.STOPPED.value, TurnState.COMPLETED.value})
# No step is without them: an update that has none of these says nothing about them.
_NEVER_CLEARED = frozenset({"name", "type", "created_at"})


def step_write(step: StepDict, *, updated_at: int | None = None) -> StepWrite:
    """Read Chainlit's dictionary; raises `InvalidRequest` and `TooLarge` for what cannot be kept."""
    given: Mapping[str, Any] = step
    values = {column: read(given[key]) for key, (column, read) in _COLUMNS.items() if key in given}
    values = {
        column: value
        for column, value in values.items()
        if value not in (None, "") or column not in _NEVER_CLEARED
    }
    extra = storable_json(
        {
            key: value
            for key, value in given.items()
            if key not in _COLUMNS and key not in _ELSEWHERE
        }
    )
    check_size(extra, "step's presentation")
    favorite = (given.get("metadata") or {}).get("favorite")
    return StepWrite(
        id=uuid_of(given.get("id")),
        thread_id=uuid_of(given.get("threadId")),
        values=values,
        extra=extra,
        favorite=None if favorite is None else bool(favorite),
        updated_at=updated_at,
    )


def shown_steps(row: AnyRow, thread_id: str) -> list[StepDict]:
    """Show a row of `SHOWN_COLUMNS` and what `OF_NO_TURN` names of its turn.

    An answer comes after what was thought and the calls of its tools, and its metadata say how its turn stands. That of
    a turn that failed or broke off is followed by its error, with the ids of turn and request. One that is only
    being begun is not shown: it would be an empty bubble.
    """
    if not row.of_turn or row.type != "assistant_message":
        return [_step_dict(row, thread_id)]
    answer = _step_dict(row, thread_id)
    answer["metadata"] = {**(answer["metadata"] or {}), "turn_state": row.state}
    shown = [_thought_step(answer, row.reasoning)] if row.reasoning else []
    shown += [_tool_step(answer, use) for use in uses_of(row.tools)]
    if row.output or row.state in _SAY_WHY_EMPTY:
        shown.append(answer)
    if row.error_message:
        error = StepDict(**answer)
        error |= {
            "id": error_step_id(row.id),
            "output": row.error_message,
            "isError": True,
            "metadata": {
                **answer["metadata"],
                "turn_id": row.turn_id,
                "request_id": row.request_id,
            },
        }
        shown.append(error)
    return shown


def _thought_step(answer: StepDict, thought: str) -> StepDict:
    step = StepDict(**answer)
    step |= {
        "id": thought_step_id(answer["id"]),
        "type": "tool",
        "name": "thinking",
        "output": thought,
        "metadata": {"thought": True},
        "generation": None,
    }
    return step


def _tool_step(answer: StepDict, use: ToolUse) -> StepDict:
    step = StepDict(**answer)
    step |= {
        "id": tool_step_id(answer["id"], use.id),
        "type": "tool",
        "name": step_title(use.name, use.action),
        "input": use.arguments,
        "output": result_markdown(use.result or "", use.sources),
        "isError": use.error is not None,
        "showInput": "json",
        "metadata": {},
        "generation": None,
    }
    return step


def _step_dict(row: AnyRow, thread_id: str) -> StepDict:
    # Taken apart at once: a look at a column by its name costs more than all that is done with it.
    id, of_turn, parent_id, _, _, type, name, input, output, is_error, *others = row
    metadata, generation, extra, favorite_at, created_at, started_at, ended_at, *_ = others
    # A turn's steps have no start of their own.
    otherwise = created_at if of_turn else None
    shown: dict[str, Any] = {
        "showInput": False,
        **(extra or {}).get("keys", {}),
        "id": id,
        "threadId": thread_id,
        "parentId": parent_id,
        "name": name,
        "type": type,
        "input": input,
        "output": output,
        # Of a turn it is the message below the answer that is the error.
        "isError": is_error and not of_turn,
        "streaming": False,
        "createdAt": created_at,
        "start": started_at or otherwise,
        "end": ended_at or otherwise,
        "metadata": {**metadata, "favorite": True} if favorite_at else metadata,
        "generation": generation,
    }
    return cast(StepDict, shown)


def listed_thread(row: AnyRow, owner: Owner) -> ThreadDict:
    """Show a thread of a list: without its metadata, but for what the list shows of them."""
    return ThreadDict(
        id=row.id,
        # The sidebar groups and sorts by this key: it wants the last activity.
        createdAt=iso(row.last_active_at),
        name=row.name,
        userId=owner.id,
        userIdentifier=owner.identifier,
        tags=row.tags or [],
        metadata={"is_shared": row.shared_at is not None},
        steps=[],
        elements=[],
    )


def thread_dict(
    row: AnyRow,
    owner: Owner,
    shown: Sequence[StepDict] = (),
    elements: Sequence[ElementDict] = (),
) -> ThreadDict:
    """Show a thread's row with what it holds."""
    listed = listed_thread(row, owner)
    metadata = {**row.metadata, **(listed["metadata"] or {})}
    return ThreadDict(
        **{**listed, "metadata": metadata, "steps": list(shown), "elements": list(elements)}
    )
