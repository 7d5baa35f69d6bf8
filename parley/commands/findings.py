"""Findings of `parley doctor`: one line each, and what they add up to."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is and, where it is not well, the mend."""

    name: str
    state: State
    said: str


Look = Callable[[], Awaitable[Sequence[Finding]]]


async def look_at(name: str, look: Look, within_s: float) -> Sequence[Finding]:
    """Look at one thing; whatever goes wrong is a finding, and does not hide the others."""
    try:
        async with asyncio.timeout(within_s):
            return await look()
    except TimeoutError:
        return [Finding(name, "bad", f"did not answer within {within_s:g} s")]
    except Exception as error:  # noqa: BLE001 - the boundary: a doctor does not die of a patient
        return [Finding(name, "bad", f"{type(error).__name__}: this should not happen, report it")]


def exit_code(findings: Sequence[Finding]) -> int:
    """Give 1 where something is bad."""
    return int(any(finding.state == "bad" for finding in findings))


def as_json(findings: Sequence[Finding]) -> str:
    """Write the findings for machines."""
    rows = [asdict(finding) for finding in findings]
    return json.dumps({"ok": not exit_code(findings), "findings": rows}, indent=2)


def as_lines(findings: Sequence[Finding]) -> str:
    """Write the findings for people."""
    width = max((len(finding.name) for finding in findings), default=0)
    return "\n".join(f"{f.state:<4}  {f.name:<{width}}  {f.said}" for f in findings)
