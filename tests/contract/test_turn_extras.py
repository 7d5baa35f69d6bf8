"""What a turn brings along and the tools that it used, kept by every `TurnStore`."""

from dataclasses import replace

import sqlalchemy as sa

from data_layer.database import Database
from data_layer.tables import threads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.messages import ImagePart
from parley.chat.models import ResponseFormat, ToolChoice, ToolSpec
from parley.chat.ports import TurnStore
from parley.chat.tools import Source, ToolUse
from parley.chat.turns import Answer, Extras, Owner
from tests.contract.support import a_turn, an_end

EXTRAS = Extras(
    images=(ImagePart("image/png", bytes(range(256))),),
    tools=(ToolSpec("add", "Adds.", {"type": "object", "x": [1, None, {"é": True}]}),),
    tool_choice=ToolChoice("required", "add"),
    response_format=ResponseFormat({"type": "object"}, "form", strict=True),
    use_tools=(),
)
USES = (
    ToolUse("c1", "look", "{not json", 1, 3, "Looking", None, "é" * 10, "failed"),
    ToolUse(
        "c2", "look", "{}", 2, 5, signature="s", result="x", sources=(Source("A", "http://a"),)
    ),
    ToolUse("c3", "add", "{}", 2, 5),
)
CHARS = 10_000


async def test_extras_are_read_back(turns: TurnStore, owner: Owner, thread_id: str) -> None:
    first = (await turns.begin(a_turn(owner, thread_id, extras=EXTRAS))).turn
    queued = (await turns.begin(a_turn(owner, thread_id, extras=EXTRAS))).turn
    assert first.extras == queued.extras == EXTRAS
    assert (await turns.turn(owner.id, first.id)).extras == EXTRAS
    following = await turns.finish(first, an_end())
    assert following
    assert following.extras == EXTRAS


async def test_the_request_that_began_a_turn_is_read_back(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id, request_id="abc-1"))).turn
    assert turn.request_id == (await turns.turn(owner.id, turn.id)).request_id == "abc-1"


async def test_tools_are_kept_by_checkpoint_and_end(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    turn = (await turns.begin(a_turn(owner, thread_id))).turn
    assert turn.answer.tools == ()
    await turns.checkpoint(turn, Answer(text="abc", tools=USES[:1]))
    assert (await turns.turn(owner.id, turn.id)).answer.tools == USES[:1]
    await turns.checkpoint(turn, Answer(text="abcd", tools=USES))
    assert (await turns.turn(owner.id, turn.id)).answer.tools == USES
    await turns.finish(turn, an_end("abcdef", tools=USES))
    assert (await turns.turn(owner.id, turn.id)).answer.tools == USES
    (said,) = await turns.exchanges(owner.id, [turn.id])
    assert said.tools == USES
    assert said.messages[1].text == "abc"


async def test_history_counts_the_characters_of_tools(
    turns: TurnStore, owner: Owner, thread_id: str
) -> None:
    ids = []
    for _ in range(3):
        turn = (await turns.begin(a_turn(owner, thread_id, "four"))).turn
        await turns.finish(turn, an_end("four", tools=USES))
        ids.append(turn.id)
    each = 8 + sum(use.chars for use in USES)
    for chars, count in ((each - 1, 0), (each, 1), (2 * each, 2), (3 * each - 1, 2)):
        assert len(await turns.history(owner.id, ids[-1], 9, chars)) == count
    assert [said.tools for said in await turns.history(owner.id, ids[-1], 1, CHARS)] == [USES]


async def test_thread_says_which_tools_its_turns_may_use(
    writer: Writer, database: Database, owner: Owner, thread_id: str
) -> None:
    sql_turns = SqlTurnStore(database, writer)
    turn = (await sql_turns.begin(a_turn(owner, thread_id))).turn
    assert turn.extras.use_tools is None
    await sql_turns.finish(turn, an_end())
    await database.write(
        lambda connection: connection.execute(
            sa.update(threads)
            .where(threads.c.id == thread_id)
            .values(metadata={"tools": ["look"], "other": 1})
        )
    )
    turn = (await sql_turns.begin(a_turn(owner, thread_id))).turn
    assert turn.extras.use_tools == ("look",)
    assert (await sql_turns.turn(owner.id, turn.id)).extras.use_tools == ("look",)
    said = replace(turn.extras, use_tools=())
    queued = (await sql_turns.begin(a_turn(owner, thread_id, extras=said))).turn
    assert queued.extras.use_tools == ()
