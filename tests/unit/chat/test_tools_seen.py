"""What a model saw, tools and images included, is made again from receipt and rows."""

from dataclasses import replace

from parley.chat.messages import Message, Role, ToolResultPart
from parley.chat.models import CompletionRequest
from parley.chat.tools import ToolResult
from parley.chat.turns import Extras, Turn
from parley.context.receipt import read_receipt, rebuild
from parley.context.seen import TurnReceipts
from tests.fakes.scripted_provider import Call
from tests.unit.chat.support import Bench, bench
from tests.unit.chat.test_extras import ADD, PNG
from tests.unit.chat.toolbench import SPECS, Toolbench, call_tools, config_of


async def assert_remade(b: Bench, turn: Turn, sent: CompletionRequest) -> None:
    row = await b.row(turn)
    receipt = read_receipt(row.answer.receipt)
    assert receipt is not None
    wanted = {message.turn_id for message in receipt.messages if message.turn_id}
    exchanges = await b.store.exchanges(turn.owner_id, sorted(wanted))
    assert rebuild(receipt, row, exchanges) == replace(sent, tries=None)
    seen = await TurnReceipts(b.store).seen(turn.owner_id, turn.id)
    assert seen.texts is not None
    assert len(seen.texts) == len(sent.messages)


async def test_request_after_tools_is_made_again() -> None:
    tools = Toolbench()
    last: Call | None = None
    async with bench(config_of(tools)) as b:
        for number in range(2):  # the second turn sees the calls of the first
            turn = await b.submit(extras=Extras(images=(PNG,)))
            first = await b.provider.call(3 * number)
            assert first.request.tools == SPECS
            call_tools(first, ("look", '{"x": 1}'), ("fly", "{"), text=" Let me look. ")
            call_tools(await b.provider.call(3 * number + 1), ("look", "{}"))
            last = await b.provider.call(3 * number + 2)
            last.finish("  It is one.")
            await b.folded(turn)
            await assert_remade(b, turn, last.request)
        assert last
        roles = [message.role for message in last.request.messages]
        assert roles[:8] == [
            "system",
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "tool",
            "assistant",
        ]
        # Images are seen in their own turn.
        assert [len(m.images) for m in last.request.messages if m.role is Role.USER] == [0, 1]


async def test_request_with_callers_tools_is_made_again() -> None:
    async with bench() as b:
        turn = await b.submit(extras=Extras(tools=(ADD,)))
        call = await b.provider.call()
        call_tools(call, ("add", "{}"), text="Adding.")
        await b.folded(turn)
        await assert_remade(b, turn, call.request)


async def test_request_in_the_last_round_is_made_again() -> None:
    tools = Toolbench()
    async with bench(config_of(tools, rounds=1)) as b:
        turn = await b.submit()
        call_tools(await b.provider.call(), ("look", "{}"))
        last = await b.provider.call(1)
        last.finish("Well.")
        await b.folded(turn)
        await assert_remade(b, turn, last.request)


async def test_stopped_tool_is_told_to_the_next_turn_with_its_call() -> None:
    tools = Toolbench()
    async with bench(config_of(tools)) as b:
        turn = await b.submit()
        call_tools(await b.provider.call(), ("wait", "{}"), text="Waiting.")
        await tools.began.wait()
        await b.engine.stop(turn.owner_id, turn.id)
        await b.folded(turn)
        after = await b.submit("And?")
        last = await b.provider.call(1)
        assert [m.role for m in last.request.messages[1:]] == ["user", "assistant", "tool", "user"]
        last.finish("Fine.")
        await b.folded(after)
        await assert_remade(b, after, last.request)


async def test_long_results_push_older_turns_out_whole() -> None:
    tools = Toolbench(answer=lambda _: ToolResult("word " * 400))
    async with bench(config_of(tools), context_window=3000) as b:
        for number in range(4):
            turn = await b.submit(f"Question {number}")
            call_tools(await b.provider.call(2 * number), ("look", "{}"))
            last = await b.provider.call(2 * number + 1)
            last.finish("Answer.")
            await b.folded(turn)
            messages = last.request.messages[1:]
            assert _whole(messages)
            await assert_remade(b, turn, last.request)


def _whole(messages: tuple[Message, ...]) -> bool:
    """Whether every call has its result after it, and no result is without its call."""
    open_calls: set[str] = set()
    for message in messages:
        for call in message.tool_calls:
            open_calls.add(call.id)
        if message.role is Role.TOOL:
            (part,) = message.parts
            assert isinstance(part, ToolResultPart)
            open_calls.remove(part.call_id)
        elif message.role is Role.USER and open_calls:
            return False
    return not open_calls
