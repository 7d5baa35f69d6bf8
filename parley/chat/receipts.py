"""Receipts: what the model saw of a thread, what it did not, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from parley.chat.messages import Role
from parley.chat.models import Toolbox

VERSION = 3


@dataclass(frozen=True, slots=True)
class ReceiptMessage:
    """One message that the model saw; `turn_id` says whose text it is, None for the system's.

    None also for what a stateless caller brought along: such a turn has no rows.
    """

    role: Role
    turn_id: str | None
    tokens: int
    counted_by: str


@dataclass(frozen=True, slots=True)
class DroppedTurn:
    """One turn that the model did not see, and the limit (or `no_answer`) that kept it out."""

    turn_id: str
    tokens: int
    rule: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the model saw of a thread: ids and counts, and no text but the operator's prompt.

    `more_before`: older turns were not even read. `system_prompt` is there where the turn has none
    of its own. `upstream_model` and `sampling` are what the provider was told; `digest` is that of
    the request (parley/context/receipt.py). `toolbox` has those of Parley's tools that the
    model was offered; `tool_tokens` are those of all tools.
    """

    model: str
    upstream_model: str
    sampling: Mapping[str, object]
    messages: tuple[ReceiptMessage, ...]
    dropped: tuple[DroppedTurn, ...]
    more_before: bool
    limits: Mapping[str, int | None]
    input_tokens: int
    system_prompt: str | None
    digest: str
    version: int = VERSION
    toolbox: Toolbox = field(default_factory=Toolbox)
    tool_tokens: int = 0

    def to_json(self) -> dict[str, object]:
        """Give the receipt as it is stored."""
        # Not `asdict`, which takes thirty times as long: once for each turn, before its first text.
        document: dict[str, object] = msgspec.to_builtins(self)
        return document


@dataclass(frozen=True, slots=True)
class Seen:
    """A receipt and the texts of its messages, as the model got them.

    `texts` is None where the rows no longer give the request that the digest is of.
    """

    turn_id: str
    receipt: Receipt
    texts: tuple[str, ...] | None


class Receipts(Protocol):
    """Where receipts are read."""

    async def seen(self, owner_id: str, turn_id: str) -> Seen:
        """Read what the model saw for a turn of this owner.

        Raises `NotFound`, also for a turn for which no model was asked.
        """
        ...

    async def turn_of_answer(self, owner_id: str, answer_step_id: str) -> str:
        """Name the turn that an answer ends; raises `NotFound`."""
        ...
