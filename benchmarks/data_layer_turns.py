"""Turns: what Chainlit and the engine write for them, what it costs, and what of it is kept."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from chainlit.context import ChainlitContext, context_var
from chainlit.data.base import BaseDataLayer
from chainlit.session import HTTPSession
from chainlit.step import StepDict
from literalai.observability.step import StepType
from typing_extensions import override

from benchmarks.data_layer_measure import Cost, counted
from parley.chat.deltas import Delta
from parley.chat.engine import Engine, open_engine
from parley.chat.models import CompletionRequest
from parley.chat.owner import current_owner
from parley.chat.ports import TurnStore
from parley.chat.running import RunConfig
from parley.chat.runs import EngineConfig
from parley.chat.turns import Owner, TurnRequest
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.live.memory import memory_live
from tests.fakes.scripted_provider import Call, OneModel, ScriptedProvider
from tests.fakes.turn_store import MemoryTurnStore

USERS, TURNS_EACH = 20, 10
QUICK_TURNS = USERS * TURNS_EACH
ANSWER = "An answer that somebody waited for."
# What lies between an answer and the next question: a client, however quick, has to send it.
_TYPING_S = 0.02


class _AtOnce(ScriptedProvider):
    """Says the answer as soon as it is asked."""

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        call = Call(request)
        call.finish(ANSWER)
        yield call.deltas()


class Writes:
    """The calls of a layer that Chainlit makes for one thread; it awaits none of them."""

    def __init__(self, layer: BaseDataLayer, thread_id: str, tasks: asyncio.TaskGroup) -> None:
        self._layer = layer
        self._thread_id = thread_id
        self._tasks = tasks

    def name(self, user_id: str) -> None:
        """Begin the thread, as the first message does."""
        self._start(self._layer.update_thread(self._thread_id, name="Hello?", user_id=user_id))

    def turn(self) -> None:
        """Write a turn whose answer is sent when it is there: four calls."""
        run = str(uuid4())
        self._create(str(uuid4()), "user_message", "Hello?")
        self._create(run, "run", "")
        self._create(str(uuid4()), "assistant_message", ANSWER, run)
        self._update(run, "run", "")

    async def streamed_turn(self) -> None:
        """Write a turn whose answer is sent empty, streamed, and updated at its end."""
        run, answer = str(uuid4()), str(uuid4())
        self._create(str(uuid4()), "user_message", "Hello?")
        self._create(run, "run", "")
        self._create(answer, "assistant_message", "", run)
        for _ in ANSWER.split():
            await asyncio.sleep(0)
        self._update(answer, "assistant_message", ANSWER, run)
        self._update(run, "run", "")

    def _create(self, *said: Any) -> None:
        self._start(self._layer.create_step(self._step(*said)))

    def _update(self, *said: Any) -> None:
        self._start(self._layer.update_step(self._step(*said)))

    def _start(self, write: Coroutine[Any, Any, Any]) -> None:
        self._tasks.create_task(write)

    def _step(
        self, step_id: str, kind: StepType, output: str, parent: str | None = None
    ) -> StepDict:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        return StepDict(
            id=step_id,
            threadId=self._thread_id,
            parentId=parent,
            createdAt=now,
            start=now,
            end=now,
            output=output,
            name=kind,
            type=kind,
            streaming=False,
            isError=False,
            waitForAnswer=False,
            metadata={},
        )


async def chainlit_cost(layer: BaseDataLayer, owner: Owner) -> Cost:
    """Count what a turn costs that Chainlit writes, in a thread that is there."""
    thread_id = str(uuid4())
    _enter(owner, thread_id)
    async with asyncio.TaskGroup() as tasks:
        Writes(layer, thread_id, tasks).name(owner.id)
    with counted() as cost:
        async with asyncio.TaskGroup() as tasks:
            Writes(layer, thread_id, tasks).turn()
    return cost


async def engine_cost(turns: TurnStore, owner: Owner) -> Cost:
    """Count what a turn costs that the engine writes; the dearest of three, checkpoints apart."""
    costs = []
    thread_id = str(uuid4())
    async with _engine(turns) as engine:
        for _ in range(3):
            with counted() as cost:
                await _ask(engine, owner, thread_id)
            costs.append(cost)
    return max(costs, key=lambda cost: (cost.statements, cost.transactions))


async def lost_by_chainlit(layer: BaseDataLayer, owners: list[Owner]) -> int:
    """Let many users have quick turns that Chainlit writes; count the answers that are gone."""

    async def have_turns(owner: Owner) -> int:
        thread_id = str(uuid4())
        _enter(owner, thread_id)
        async with asyncio.TaskGroup() as tasks:
            writes = Writes(layer, thread_id, tasks)
            writes.name(owner.id)
            for _ in range(TURNS_EACH):
                await writes.streamed_turn()
                await asyncio.sleep(_TYPING_S)
        return await _lost(layer, thread_id)

    return sum(await asyncio.gather(*map(have_turns, owners)))


async def lost_by_engine(layer: BaseDataLayer, turns: TurnStore, owners: list[Owner]) -> int:
    """Let many users have quick turns with the engine; count the answers that are gone."""

    async def have_turns(owner: Owner) -> int:
        thread_id = str(uuid4())
        _enter(owner, thread_id)
        for _ in range(TURNS_EACH):
            await _ask(engine, owner, thread_id)
        return await _lost(layer, thread_id)

    async with _engine(turns) as engine:
        return sum(await asyncio.gather(*map(have_turns, owners)))


async def _lost(layer: BaseDataLayer, thread_id: str) -> int:
    """Count the answers that a reload does not show."""
    thread = await layer.get_thread(thread_id)
    shown = thread["steps"] if thread else []
    kept = [s for s in shown if s["type"] == "assistant_message" and s["output"] == ANSWER]
    return TURNS_EACH - len(kept)


def _enter(owner: Owner, thread_id: str) -> None:
    """Be this owner, in a session of Chainlit's, for the rest of the task."""
    current_owner.set(owner)
    session = HTTPSession(id=str(uuid4()), client_type="webapp", thread_id=thread_id)
    context_var.set(ChainlitContext(session))


@asynccontextmanager
async def _engine(turns: TurnStore) -> AsyncIterator[Engine]:
    config = EngineConfig("bench", RunConfig(), running_limit=USERS, checkpoint_s=3600)
    context = WindowedContext(ContextConfig(), MemoryContextStore(), turns)
    owns, model = MemoryTurnStore().ownership("bench"), OneModel(_AtOnce())
    async with open_engine(config, model, context, turns, memory_live(), owns) as engine:
        yield engine


async def _ask(engine: Engine, owner: Owner, thread_id: str) -> None:
    turn = (await engine.submit(TurnRequest(owner=owner, thread_id=thread_id, text="Hello?"))).turn
    async for _ in engine.follow(turn):
        pass
