"""What the tests of the engine share: an engine on fakes, and ways to watch it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from typing_extensions import override

from parley.chat.engine import Engine, open_engine
from parley.chat.errors import StorageUnavailable
from parley.chat.events import Done, ErrorEvent, Event
from parley.chat.fold import Folded, fold
from parley.chat.limits import UNLIMITED, Admission
from parley.chat.news import News
from parley.chat.ports import Live
from parley.chat.running import RunConfig
from parley.chat.runs import EngineConfig
from parley.chat.turns import Answer, Begun, NewTurn, Owner, Turn, TurnRequest
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.live.memory_log import MemoryTurnLog
from parley.live.memory_news import MemoryAnnouncements
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.fakes.turn_store import MemoryTurnStore
from tests.patience import PATIENCE_S

ANNA = Owner(str(uuid4()), "anna")
BEN = Owner(str(uuid4()), "ben")
CONFIG = EngineConfig(
    replica_id="this",
    run=RunConfig(window_s=0, save_retry_s=0, first_pause_s=0.001, longest_pause_s=0.001),
    checkpoint_s=0.001,
    look_s=0.001,
    grace_s=0,
)


class TroubledStore(MemoryTurnStore):
    """A store that a test can take down or hold up, method by method, and watch."""

    def __init__(self) -> None:
        super().__init__()
        self.down: set[str] = set()
        self.errors: dict[str, Exception] = {}
        # Methods whose next success is told as a failure: an acknowledgement that got lost.
        self.unheard: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.entered: list[str] = []
        self.saved: list[Answer] = []
        # How often a replica has looked what runs.
        self.looks = 0
        self._changed = asyncio.Event()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something is true that changes with a call of this store."""
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                self._changed.clear()
                await self._changed.wait()

    async def _enter(self, name: str) -> None:
        self.entered.append(name)
        self._changed.set()
        if name in self.held:
            await self.held[name].wait()
        if name in self.errors:
            raise self.errors[name]
        if name in self.down:
            raise StorageUnavailable("The database cannot be reached.")

    def _leave(self, name: str) -> None:
        self._changed.set()
        if name in self.unheard:
            self.unheard.remove(name)
            raise StorageUnavailable("The database cannot be reached.")

    @override
    def running_rows(self) -> list[Any]:
        self.looks += 1
        self._changed.set()
        return super().running_rows()

    @override
    async def begin(self, new: NewTurn) -> Begun:
        await self._enter("begin")
        begun = await super().begin(new)
        self._leave("begin")
        return begun

    @override
    async def checkpoint(self, turn: Turn, answer: Answer) -> None:
        await self._enter("checkpoint")
        await super().checkpoint(turn, answer)
        self.saved.append(answer)
        self._changed.set()

    @override
    async def finish(self, turn: Turn, answer: Answer) -> Turn | None:
        await self._enter("finish")
        following = await super().finish(turn, answer)
        self.saved.append(answer)
        self._leave("finish")
        if "finished" in self.held:
            await self.held["finished"].wait()
        return following

    @override
    async def request_stop(self, owner_id: str, turn_id: str) -> Turn:
        await self._enter("request_stop")
        return await super().request_stop(owner_id, turn_id)

    @override
    async def running(self, owner_id: str, thread_id: str) -> Turn | None:
        await self._enter("running")
        return await super().running(owner_id, thread_id)


class WatchedLog(MemoryTurnLog):
    """A log that a test reads as one list, and sees forget."""

    def __init__(self) -> None:
        super().__init__(silence_s=0.02)
        self.events: list[Event] = []
        self.grown = asyncio.Event()
        self.forgotten = asyncio.Event()
        # What a log that several processes share may say of itself.
        self.is_shared = True
        self.has_failed = asyncio.Event()

    @override
    async def failed(self) -> None:
        await self.has_failed.wait()
        self.has_failed.clear()

    @override
    def append(self, turn_id: str, events: Sequence[Event]) -> None:
        super().append(turn_id, events)
        self.events.extend(events)
        self.grown.set()

    @override
    def forget(self, turn_id: str) -> None:
        super().forget(turn_id)
        self.forgotten.set()

    async def until(self, kind: type[Event]) -> None:
        """Wait for an event of this kind."""
        async with asyncio.timeout(PATIENCE_S):
            while kind not in map(type, self.events):
                self.grown.clear()
                await self.grown.wait()


class Announced(MemoryAnnouncements):
    """Announcements that get lost while the test says so."""

    deaf = False

    @override
    def announce(self, news: News) -> None:
        if not self.deaf:
            super().announce(news)


@dataclass
class Bench:
    """An engine and all that it works with."""

    engine: Engine
    provider: ScriptedProvider
    store: TroubledStore
    log: WatchedLog
    announcements: Announced
    thread_id: str = field(default_factory=lambda: str(uuid4()))

    async def submit(self, text: str = "Hello?", **changes: object) -> Turn:
        return (await self.begin(text, **changes)).turn

    async def begin(self, text: str = "Hello?", **changes: object) -> Begun:
        request = TurnRequest(owner=ANNA, thread_id=self.thread_id, text=text)
        return await self.engine.submit(replace(request, **changes))  # type: ignore[arg-type]  # names of TurnRequest

    async def events(self, turn: Turn, after: int = 0) -> list[Event]:
        async with asyncio.timeout(PATIENCE_S):
            return [event async for event in self.engine.follow(turn, after)]

    async def folded(self, turn: Turn) -> Folded:
        """Follow a turn to its end; there is exactly one `Done`, and it is last."""
        events = await self.events(turn)
        assert [type(event) for event in events].count(Done) == 1
        assert isinstance(events[-1], Done)
        return fold(events)

    async def error(self, turn: Turn) -> ErrorEvent:
        (error,) = [event for event in await self.events(turn) if isinstance(event, ErrorEvent)]
        return error

    async def row(self, turn: Turn) -> Turn:
        return await self.store.turn(turn.owner_id, turn.id)

    async def first(self, turn: Turn, kind: type[Event]) -> Event:
        """Follow a turn until an event of this kind."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self.engine.follow(turn):
                if isinstance(event, kind):
                    return event
        raise AssertionError(f"the turn ended without {kind}")

    async def texts(self, turns: Sequence[Turn]) -> list[str]:
        return [(await self.folded(turn)).text for turn in turns]


@asynccontextmanager
async def bench(
    config: EngineConfig = CONFIG,
    store: TroubledStore | None = None,
    context: ContextConfig | None = None,
    context_window: int | None = None,
    provider: ScriptedProvider | None = None,
    log: WatchedLog | None = None,
    admission: Admission = UNLIMITED,
    live: Live | None = None,
    *,
    able: bool = True,
    prefill: bool = False,
) -> AsyncIterator[Bench]:
    """Run an engine; what still runs at the end is interrupted at once."""
    provider, log = provider or ScriptedProvider(), log or WatchedLog()
    store = store or TroubledStore()
    window = WindowedContext(context or ContextConfig(), MemoryContextStore(), store)
    catalogue = OneModel(provider, context_window, tools=able, vision=able, prefill=prefill)
    announcements = Announced()
    live = live or Live(log, announcements)
    owns = store.ownership(config.replica_id)
    async with open_engine(config, catalogue, window, store, live, owns, admission) as engine:
        yield Bench(engine, provider, store, log, announcements)
    store.living.discard(config.replica_id)
