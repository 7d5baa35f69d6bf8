"""Chaos: replicas, readers and a seeded schedule of faults; what is promised is checked at the end.

    make chaos SECONDS=600 SEED=7

Everything is real: processes, sockets, signals, a PostgreSQL, a Redis, a network that is cut. Each of a
number of threads says one message after the other, now and then two at once, on whichever replica, and
now and then one twice under the same key. The seed decides what is done and when; what becomes of it the
machine decides too.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from uuid import uuid4

from tests.e2e.allowance import (
    CUT,
    ENDED,
    FROZEN,
    KILLED,
    POSTGRES,
    REDIS,
    Fault,
    may_be_lost,
)
from tests.e2e.replicas import PARTIAL, Reading, Replicas, ShownAndLost, replicas
from tests.e2e.storyteller import story

THREADS = 6
# A reader that is not done so long after the last fault waits for an answer that is lost.
_PATIENCE_S = 60.0
_FROZEN_S = 4.0


@dataclass
class Result:
    """What a run has shown."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    stops: int = 0
    partial: int = 0
    taken_over: int = 0
    # Answers that lack what the design lets go: see allowance.py.
    allowed: int = 0
    # What must not be: each with its story.
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Give the table that is printed at the end."""
        rows = [
            ("seed", self.seed),
            *sorted(self.faults.items()),
            ("turns", self.turns),
            ("stops asked for", self.stops),
            ("of them stopped or broken off", self.partial),
            ("of them taken over", self.taken_over),
            ("last words of owner and Redis", self.allowed),
            ("losses", len(self.lost)),
            ("doubles", len(self.doubled)),
        ]
        lines = [f"{name:<32}{count:>8}" for name, count in rows]
        return "\n".join([*lines, *self.lost, *self.doubled])


class Chaos:
    """One run."""

    def __init__(self, it: Replicas, seed: int, seconds: float) -> None:
        self._it = it
        self._random = random.Random(seed)
        self._ends_at = monotonic() + seconds
        self._readings: list[Reading] = []
        self.result = Result(seed)
        self._broken: list[Fault] = []
        self._faults: dict[str, Callable[[int], Awaitable[None]]] = {
            KILLED: self._kill,
            ENDED: self._terminate,
            FROZEN: self._freeze,
            REDIS: self._restart_redis,
            POSTGRES: self._restart_postgres,
            CUT: self._cut,
        }

    async def run(self) -> Result:
        """Talk and break things until time is up; then let it come to rest, and check."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(THREADS):
                tasks.create_task(self._talk(random.Random(self._random.random()), number))
            tasks.create_task(self._break())
        await self._check()
        return self.result

    async def _talk(self, chance: random.Random, number: int) -> None:
        session_id = f"thread-{number}-{uuid4().hex[:8]}"
        while monotonic() < self._ends_at:
            said = [self._reading(chance, session_id) for _ in range(chance.choice((1, 1, 1, 2)))]
            if chance.random() < 0.3:  # once more, under the same key, on another connection
                twice = said[0]
                said.append(Reading(session_id, twice.message, key=twice.key))
            self._readings += said
            reads = [self._it.read(reading, chance.randrange(3)) for reading in said]
            if chance.random() < 0.15:
                reads.append(self._stop(said[0], chance))
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.gather(*reads)
            except TimeoutError:
                waits = [reading.message for reading in said if not reading.finish_reason]
                self.result.lost.append(f"no end was seen of {waits}")

    def _reading(self, chance: random.Random, session_id: str) -> Reading:
        message = f"{uuid4().hex[:8]} {chance.randint(5, 150)}"
        return Reading(session_id, message, resumes=chance.random() < 0.5)

    async def _stop(self, reading: Reading, chance: random.Random) -> Reading:
        """Stop a turn while it runs, waits, or is over already."""
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        if reading.turn_id:
            self.result.stops += 1
            await self._it.stop(reading, chance.randrange(3))
        return reading

    async def _break(self) -> None:
        while monotonic() < self._ends_at:
            await asyncio.sleep(self._random.uniform(0.5, 3.0))
            name = self._random.choice(list(self._faults))
            self.result.faults[name] += 1
            index = self._random.randrange(len(self._it.parleys))
            pid, began_at = self._it.parleys[index].process.pid, monotonic()
            await self._faults[name](index)
            self._broken.append(Fault(name, pid, began_at, monotonic()))

    async def _kill(self, index: int) -> None:
        await asyncio.to_thread(self._it.parleys[index].kill)
        await self._it.restart(index)

    async def _terminate(self, index: int) -> None:
        await asyncio.to_thread(self._it.parleys[index].stop)
        await self._it.restart(index)

    async def _freeze(self, index: int) -> None:
        self._it.signal(index, signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.2, _FROZEN_S))
        self._it.signal(index, signal.SIGCONT)

    async def _restart_redis(self, _: int) -> None:
        await self._it.restart_redis()

    async def _restart_postgres(self, _: int) -> None:
        await self._it.restart_postgres()

    async def _cut(self, index: int) -> None:
        await self._it.lines[index].cut()
        await asyncio.sleep(self._random.uniform(0.2, _FROZEN_S))
        await self._it.lines[index].mend()

    async def _check(self) -> None:
        by_key: dict[str, list[Reading]] = {}
        for reading in self._readings:
            by_key.setdefault(reading.key, []).append(reading)
        self.result.turns = len(by_key)
        for readings in by_key.values():
            if len({reading.turn_id for reading in readings}) > 1:
                self.result.doubled.append(f"one key, several turns: {readings[0].message}")
            for reading in readings:
                await self._check_one(reading)
        (rows,) = await self._it.rows(
            "SELECT count(*) AS turns, count(*) FILTER (WHERE state IN ('running', 'queued'))"
            " AS live, count(*) FILTER (WHERE fence > 1) AS taken FROM turns"
        )
        self.result.taken_over = rows["taken"]
        if rows["turns"] != len(by_key):
            self.result.doubled.append(f"{rows['turns']} turns for {len(by_key)} keys")
        if rows["live"]:
            self.result.lost.append(f"{rows['live']} turns never ended")

    async def _check_one(self, reading: Reading) -> None:
        try:
            row = await self._it.check(reading)
        except ShownAndLost as error:
            owners = self._it.taken_from(str(reading.turn_id))
            if may_be_lost(error.shown_at, owners, self._broken):
                self.result.allowed += 1
            else:
                self.result.lost.append(f"{reading.message}: {error}")
            return
        except AssertionError as error:
            self.result.lost.append(f"{reading.message}: {error}")
            return
        self.result.partial += row["finish_reason"] in PARTIAL
        whole = row["finish_reason"] not in PARTIAL
        if whole and reading.finish_reason and reading.text != story(reading.message):
            self.result.lost.append(f"{reading.message}: its reader had {reading.text!r}")


async def chaos(seconds: float, seed: int, directory: Path) -> Result:
    """Run chaos on new replicas."""
    async with replicas(directory) as it:
        return await Chaos(it, seed, seconds).run()


def main() -> None:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="parley-chaos-") as directory:
        result = asyncio.run(chaos(asked.seconds, asked.seed, Path(directory)))
    sys.stdout.write(f"{result.table()}\n")
    sys.exit(bool(result.lost or result.doubled))


if __name__ == "__main__":
    main()
