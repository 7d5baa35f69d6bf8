"""What chaos may lose: the last second of an owner that died together with Redis, and nothing else.

Pure. An owner tells its readers what is in the log or, while Redis does not take it, goes to the database four
times a second. Nobody has its last words where Redis lost the log just before it died, or before it was taken
over from (docs/decisions/0013-when-the-log-fails.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

KILLED, ENDED, FROZEN = "kill -9", "SIGTERM", "SIGSTOP"
REDIS, POSTGRES, CUT = "Redis begins anew", "PostgreSQL begins anew", "network to Redis cut"
# The second between two checkpoints, and what a machine with much else to do makes of it.
LAST_S = 1.5
# By then whoever died is taken over from.
_TAKEN_OVER_S = 5.0


@dataclass(frozen=True)
class Fault:
    """Something that was broken for a while; `pid` is the replica's, where it was one."""

    name: str
    pid: int
    began_at: float
    ended_at: float


def may_be_lost(shown_at: Sequence[float], owners: Sequence[int], faults: Sequence[Fault]) -> bool:
    """Whether an answer may lack what was shown at these times; `owners` are the pids taken over from."""
    return any(
        all(since <= at for at in shown_at) for pid in owners for since in _since(pid, faults)
    )


def _since(pid: int, faults: Sequence[Fault]) -> Iterator[float]:
    """From when on what this owner showed may be lost, for each of its deaths."""
    for death in faults:
        if death.pid == pid and death.name in {KILLED, ENDED, FROZEN}:
            died_at = death.began_at
            if any(_takes_the_log(fault, pid, died_at) for fault in faults):
                yield _last_checkpoint(died_at, faults)


def _takes_the_log(fault: Fault, pid: int, died_at: float) -> bool:
    if fault.ended_at < died_at - LAST_S:
        return False
    if fault.name == CUT:
        return fault.pid == pid and fault.began_at <= died_at
    return fault.name == REDIS and fault.began_at <= died_at + _TAKEN_OVER_S


def _last_checkpoint(died_at: float, faults: Sequence[Fault]) -> float:
    """When the last one before a death was at the latest; while the database is away there is none."""
    last = died_at - LAST_S
    away = [f for f in faults if f.name == POSTGRES and f.began_at <= died_at]
    for fault in sorted(away, key=lambda f: f.began_at, reverse=True):
        if fault.ended_at >= last:
            last = min(last, fault.began_at - LAST_S)
    return last
