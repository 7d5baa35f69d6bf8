"""A context that was remembered is the one that the rows give, and so is what a receipt gives."""

import json
import random

import pytest

from parley.chat.models import Sampling
from parley.chat.ports import Route, TurnStore
from parley.chat.turns import Owner, Turn
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.context.receipt import read_receipt, rebuild
from tests.contract.support import a_turn, an_end
from tests.fakes.scripted_provider import OneModel, ScriptedProvider

TEXTS = ["", "short", "日本\U0001f600 \u2028", "long " * 30, '"\\', "`x`"]
SAMPLINGS = [Sampling(), Sampling(temperature=1.0), Sampling(5, 0.1, 1, ("a", "b"), 2**40)]
CONFIGS = [
    ContextConfig(),
    ContextConfig(history_turns=2),
    ContextConfig(history_turns=None, most_turns=3),
    ContextConfig(history_tokens=60, most_chars=400),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
async def test_rows_give_what_was_remembered_and_sent(
    turns: TurnStore, owner: Owner, thread_id: str, config: ContextConfig, seed: int
) -> None:
    chance, route = random.Random(seed), OneModel(ScriptedProvider()).resolve(None)
    remembering = WindowedContext(config, MemoryContextStore(), turns)
    said: list[Turn] = []
    for _ in range(14):
        replaces = chance.choice(said).id if said and chance.random() < 0.3 else None
        new = a_turn(
            owner,
            thread_id,
            chance.choice(TEXTS[1:]),
            replaces=replaces,
            sampling=chance.choice(SAMPLINGS),
            system_prompt=chance.choice([None, "own"]),
        )
        turn = (await turns.begin(new)).turn
        built = await remembering.build(turn, route)
        forgetful = WindowedContext(config, MemoryContextStore(), turns)
        assert await forgetful.build(turn, route) == built
        answer = chance.choice(TEXTS)
        end = an_end(answer, receipt=built.receipt)
        await turns.finish(turn, end)
        await remembering.extend(turn, built, end)
        await assert_receipt_gives(turns, turn, route, built.request)
        said.append(turn)


async def assert_receipt_gives(turns: TurnStore, turn: Turn, route: Route, request: object) -> None:
    stored = await turns.turn(turn.owner_id, turn.id)
    receipt = read_receipt(json.loads(json.dumps(stored.answer.receipt)))
    assert receipt is not None
    wanted = {message.turn_id for message in receipt.messages if message.turn_id}
    exchanges = await turns.exchanges(turn.owner_id, sorted(wanted))
    assert rebuild(receipt, stored, exchanges) == request
