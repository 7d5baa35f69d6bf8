"""Measure: how long a call takes, how long it holds up the loop, what it costs the database."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from typing_extensions import override

T = TypeVar("T")

_TICK_S = 0.001


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing, in ms."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle: what counts as the figure."""
        return median(self.values)

    @override
    def __str__(self) -> str:
        """Say the median and what it lies between."""
        return f"{_ms(self.median)} ms ({_ms(min(self.values))} to {_ms(max(self.values))})"


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """Several runs of a call, and what the last one gave.

    Of each its time, its worst stall, and what it took of this process's CPU, which does not grow
    with what else the machine does.
    """

    times: Spread
    stalls: Spread
    cpu: Spread
    result: T


async def timed(call: Callable[[], Awaitable[T]], runs: int) -> Timed[T]:
    """Time a call after a first run, which is not counted."""
    result = await call()
    times, stalls, cpu = [], [], []
    for _ in range(runs):
        with _stalls() as stall:
            await asyncio.sleep(2 * _TICK_S)  # the ticker is on its way
            began_at, cpu_before = perf_counter(), process_time()
            result = await call()
            cpu.append((process_time() - cpu_before) * 1000)
            times.append((perf_counter() - began_at) * 1000)
            await asyncio.sleep(2 * _TICK_S)  # a stall is noticed only after it
        stalls.append(max(stall) * 1000)
    return Timed(Spread(tuple(times)), Spread(tuple(stalls)), Spread(tuple(cpu)), result)


@contextmanager
def _stalls() -> Iterator[list[float]]:
    """Collect by how much a timer of one millisecond comes late."""
    loop = asyncio.get_running_loop()
    late = [0.0]

    def tick(due_at: float) -> None:
        late.append(perf_counter() - due_at)
        wait()

    def wait() -> None:
        waiting[:] = [loop.call_later(_TICK_S, tick, perf_counter() + _TICK_S)]

    waiting: list[asyncio.TimerHandle] = []
    wait()
    try:
        yield late
    finally:
        waiting[0].cancel()


@dataclass(slots=True)
class Cost:
    """What the databases of this process were asked for."""

    statements: int = 0
    transactions: int = 0


@contextmanager
def counted() -> Iterator[Cost]:
    """Count the statements and transactions of every engine; a BEGIN is no statement."""
    cost = Cost()

    def on_statement(*arguments: Any) -> None:
        cost.statements += not arguments[2].startswith("BEGIN")

    def on_begin(_: object) -> None:
        cost.transactions += 1

    event.listen(sa.Engine, "before_cursor_execute", on_statement)
    event.listen(sa.Engine, "begin", on_begin)
    try:
        yield cost
    finally:
        event.remove(sa.Engine, "before_cursor_execute", on_statement)
        event.remove(sa.Engine, "begin", on_begin)


def kilobytes(answer: dict[str, Any]) -> str:
    """Say how large an answer is as the JSON that Chainlit makes of it."""
    return f"{len(json.dumps(answer, ensure_ascii=False).encode()) / 1000:,.0f} kB"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
