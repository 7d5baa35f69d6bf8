"""Histories, a tokenizer and a desk to work at, for the tests of context."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from hypothesis import strategies as st

from parley.chat.requests import new_turn, unkept_turn
from parley.chat.turns import Answer, Context, Exchange, Owner, Turn, TurnRequest, TurnState
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.context.tokens import estimated
from parley.context.window import CountedTurn
from tests.fakes.scripted_provider import OneModel, ScriptedProvider
from tests.fakes.turn_store import MemoryTurnStore


def exchange(user: str = "question", answer: str = "answer") -> Exchange:
    return Exchange(str(uuid4()), None, user, answer)


WORDS = st.text(max_size=40)
EXCHANGES = st.builds(Exchange, st.uuids().map(str), st.none(), WORDS, WORDS)


def counted(said: Exchange) -> CountedTurn:
    return CountedTurn(said, estimated(said.user_text), (estimated(said.answer_text),))


HISTORIES = st.lists(EXCHANGES.map(counted), max_size=12)


class Words:
    """A tokenizer for which a word is a token, and which remembers what it was asked."""

    def __init__(self, name: str = "words") -> None:
        self.name = name
        self.silent = False
        self.asked: list[str] = []

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        if self.silent:
            return None
        self.asked += texts
        return [len(text.split()) for text in texts]


ANNA = Owner(str(uuid4()), "anna")


class Desk:
    """A thread, its rows, and a context builder on them."""

    def __init__(self, config: ContextConfig | None = None) -> None:
        self.config = config or ContextConfig()
        self.rows = MemoryTurnStore()
        self.store = MemoryContextStore()
        self.provider = ScriptedProvider()
        self.route = OneModel(self.provider).resolve(None)
        self.builder = WindowedContext(self.config, self.store, self.rows)
        self.request = TurnRequest(owner=ANNA, thread_id=str(uuid4()), text="question")

    async def begin(self, text: str = "question", **changes: object) -> Turn:
        request = replace(self.request, text=text, **changes)  # type: ignore[arg-type]  # names of TurnRequest
        new = new_turn(request, "m", replica_id="this", max_running=9, max_queued=9)
        if not request.keep:
            return unkept_turn(request, new)
        return (await self.rows.begin(new)).turn

    async def answer(self, turn: Turn, text: str) -> None:
        end = Answer(TurnState.COMPLETED, text, ended_at=datetime.now(UTC))
        await self.rows.finish(turn, end)
        await self.builder.extend(turn, await self.build(turn), end)

    async def build(self, turn: Turn) -> Context:
        return await self.builder.build(turn, self.route)

    async def rebuild(self, turn: Turn) -> Context:
        """Build with nothing remembered."""
        forgetful = WindowedContext(self.config, MemoryContextStore(), self.rows)
        return await forgetful.build(turn, self.route)
