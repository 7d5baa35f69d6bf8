"""Exactly once: whatever is sent twice, out of order, unheard or read again, each key has one answer.

Two replicas share the rows. What a caller does is drawn: which keys are sent how often and where, which
acknowledgements of the database get lost, and when readers leave and come back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from parley.chat.deltas import Delta, Finish, FinishReason, Text
from parley.chat.errors import StorageUnavailable
from parley.chat.events import Event
from parley.chat.fold import Folded, fold
from parley.chat.models import CompletionRequest
from parley.chat.turns import Turn, TurnRequest, TurnState
from tests.fakes.scripted_provider import ScriptedProvider
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, CONFIG, Bench, TroubledStore, bench

THREADS = [str(uuid4()) for _ in range(2)]
PATIENT = replace(CONFIG, carries_on=True, run=replace(CONFIG.run, save_retry_s=3600))


class Answering(ScriptedProvider):
    """Answers each message with itself, a letter at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        self.asked.append(request.messages[-1].text)
        yield self._echo(request.messages[-1].text)

    async def _echo(self, text: str) -> AsyncIterator[Delta]:
        for letter in text:
            await asyncio.sleep(0)
            yield Text(letter)
        yield Finish(FinishReason.STOP)


@dataclass(frozen=True)
class Sending:
    """One time that a message is sent: where, after how many steps of others, how it is read."""

    key: int
    replica: int
    waits: int
    leaves_after: int
    lost: str | None


sendings = st.builds(
    Sending,
    key=st.integers(0, 5),
    replica=st.integers(0, 1),
    waits=st.integers(0, 30),
    leaves_after=st.integers(0, 6),
    lost=st.sampled_from([None, None, None, "begin", "finish"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(sendings, min_size=1, max_size=24))
def test_each_key_has_one_answer(sent: list[Sending]) -> None:
    asyncio.run(_each_key_has_one_answer(sent))


async def _each_key_has_one_answer(sent: list[Sending]) -> None:
    store, provider = TroubledStore(), Answering()
    other = replace(PATIENT, replica_id="other")
    async with (
        bench(PATIENT, store, provider=provider) as one,
        bench(other, store, provider=provider) as two,
    ):
        async with asyncio.timeout(PATIENCE_S):
            folded = await asyncio.gather(*(_send((one, two), sending) for sending in sent))
        keys = {sending.key for sending in sent}
        turns = [t for thread in THREADS for t in await _turns(store, thread)]
        assert len(turns) == len(keys), "one message for each key"
        assert sorted(provider.asked) == sorted(_text(key) for key in keys), "each asked once"
        for turn in turns:
            assert (turn.state, turn.answer.text) == (TurnState.COMPLETED, turn.text)
        for sending, seen in zip(sent, folded, strict=True):
            assert (seen.text, seen.finish_reason) == (_text(sending.key), FinishReason.STOP)


def _text(key: int) -> str:
    return f"message {key}"


async def _turns(store: TroubledStore, thread_id: str) -> list[Turn]:
    rows = [row.turn for row in store._rows.values()]
    return [turn for turn in rows if turn.thread_id == thread_id]


async def _send(replicas: tuple[Bench, Bench], sending: Sending) -> Folded:
    """Send a message as clients do: again, with its key, until it is heard; then read it."""
    for _ in range(sending.waits):
        await asyncio.sleep(0)
    b = replicas[sending.replica]
    if sending.lost:
        b.store.unheard.add(sending.lost)
    request = TurnRequest(ANNA, THREADS[sending.key % 2], _text(sending.key), key=str(sending.key))
    while True:
        try:
            turn = (await b.engine.submit(request)).turn
        except StorageUnavailable:
            continue
        return await _read(replicas, turn, sending)


async def _read(replicas: tuple[Bench, Bench], turn: Turn, sending: Sending) -> Folded:
    """Read to the end; a reader that leaves comes back, elsewhere, with its cursor."""
    folded, on, left = Folded(), sending.replica, sending.leaves_after
    while folded.finish_reason is None:
        row = await replicas[on].engine.turn(turn.owner_id, turn.id)
        async with aclosing(replicas[on].engine.follow(row, folded.seq)) as events:
            seen = await _take(events, left)
        folded, left, on = fold(seen, folded), left - len(seen), 1 - on
    return folded


async def _take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """Take so many events, or all of them."""
    taken: list[Event] = []
    async for event in events:
        taken.append(event)
        if len(taken) == count:
            break
    return taken
