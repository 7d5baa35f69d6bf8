"""What a message brings along: bounded, kept as it came, and in the request that a model gets."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.deltas import FinishReason, ToolCallDelta
from parley.chat.errors import Conflict, InvalidRequest, TooLarge
from parley.chat.events import ToolEnd, ToolStart
from parley.chat.extras import check_extras, digestible, extras_json, extras_of, with_tools_of
from parley.chat.messages import ImagePart, Message, Role, ToolCallPart, ToolResultPart
from parley.chat.models import ResponseFormat, ToolChoice, ToolSpec
from parley.chat.turns import Extras
from tests.unit.chat.support import bench

PNG = ImagePart("image/png", b"\x89PNG\r\n\x1a\nrest")
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
EVERYTHING = Extras(
    images=(PNG,),
    tools=(ADD,),
    tool_choice=ToolChoice("required", "add"),
    response_format=ResponseFormat({"type": "object"}, "answer", strict=True),
    use_tools=(),
)
JSON: st.SearchStrategy[Mapping[str, object]] = st.dictionaries(
    st.text("abc", max_size=3),
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("é", max_size=2),
)
EXTRAS = st.builds(
    Extras,
    images=st.lists(st.builds(ImagePart, st.just("image/png"), st.binary(max_size=9))).map(tuple),
    tools=st.lists(st.builds(ToolSpec, st.text("ab"), st.text("ab"), JSON), max_size=2).map(tuple),
    tool_choice=st.none() | st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    response_format=st.none() | st.builds(ResponseFormat, st.none() | JSON),
    use_tools=st.none() | st.lists(st.text("ab")).map(tuple),
)


@given(EXTRAS)
def test_extras_come_back_from_json(extras: Extras) -> None:
    assert extras_of(json.loads(json.dumps(extras_json(extras)))) == extras


def test_no_extras_are_no_json() -> None:
    assert extras_json(Extras()) is None
    assert digestible(Extras()) == b""


def test_a_language_is_kept_and_makes_no_other_message_of_it() -> None:
    spoken = Extras(use_tools=("web_search",), language="de")
    assert extras_of(json.loads(json.dumps(extras_json(spoken)))) == spoken
    assert digestible(spoken) == digestible(Extras(use_tools=("web_search",)))
    assert digestible(Extras(language="de")) == b""
    assert extras_of(None) == Extras()


@pytest.mark.parametrize(
    ("extras", "word"),
    [
        (Extras(images=(PNG,) * 17), "16 images"),
        (Extras(images=(replace(PNG, data=b"<svg>"),)), "PNG"),
        (Extras(images=(replace(PNG, media_type="image/svg+xml"),)), "PNG"),
        (Extras(tools=(ADD, ADD)), "same name"),
        (Extras(tools=(replace(ADD, name="a b"),)), "letters"),
        (Extras(tools=(ADD,) * 129), "128 tools"),
        (Extras(use_tools=("a/b",)), "letters"),
        (Extras(tool_choice=ToolChoice("required", "add")), "none of those"),
        (Extras(tools=(replace(ADD, description="\0"),)), "NUL"),
        (Extras(tools=(replace(ADD, description="\ud800"),)), "valid JSON"),
    ],
)
def test_nonsense_is_refused(extras: Extras, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        check_extras(extras, 1000)


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge, match="LIMIT_IMAGE_BYTES"):
        check_extras(Extras(images=(PNG,)), 5)
    with pytest.raises(TooLarge, match="262144"):
        check_extras(Extras(tools=(replace(ADD, description="x" * 300_000),)), 5)


def test_thread_says_which_tools_where_the_message_does_not() -> None:
    assert with_tools_of(Extras(), ["a", 1, "no good"]).use_tools == ("a",)
    assert with_tools_of(Extras(use_tools=()), ["a"]).use_tools == ()
    assert with_tools_of(Extras(), {"a": 1}).use_tools is None


async def test_model_gets_what_the_message_brings_along() -> None:
    async with bench() as b:
        turn = await b.submit("What is it?", extras=EVERYTHING)
        call = await b.provider.call()
        assert call.request.messages[-1].images == (PNG,)
        assert call.request.messages[-1].text == "What is it?"
        assert call.request.tools == (ADD,)
        assert call.request.tool_choice == EVERYTHING.tool_choice
        assert call.request.response_format == EVERYTHING.response_format
        call.finish("It is.")
        assert (await b.folded(turn)).text == "It is."
        assert (await b.row(turn)).extras == EVERYTHING


@pytest.mark.parametrize(
    ("extras", "word"), [(Extras(images=(PNG,)), "images"), (Extras(tools=(ADD,)), "tools")]
)
async def test_model_that_is_not_able_is_not_asked(extras: Extras, word: str) -> None:
    async with bench(able=False) as b:
        with pytest.raises(InvalidRequest, match=f"{word}.*parley.toml"):
            await b.submit(extras=extras)
        assert not b.store.entered


async def test_tools_that_are_not_there_are_refused() -> None:
    async with bench() as b:
        with pytest.raises(InvalidRequest, match="no tools"):
            await b.submit(extras=Extras(use_tools=("web_search",)))


async def test_key_with_other_extras_is_a_conflict() -> None:
    async with bench() as b:
        first = await b.submit(key="k", extras=Extras(images=(PNG,)))
        assert (await b.begin(key="k", extras=Extras(images=(PNG,)))).turn.id == first.id
        with pytest.raises(Conflict):
            await b.submit(key="k")


async def test_callers_tool_ends_the_turn() -> None:
    async with bench() as b:
        turn = await b.submit(extras=Extras(tools=(ADD,)))
        call = await b.provider.call()
        call.say("Let me add.")
        call.send(ToolCallDelta(0, "c1", "add", '{"a"'))
        call.send(ToolCallDelta(0, None, None, ":1}", "signed"))
        call.send(ToolCallDelta(1, "c1", "add", "{}"))
        call.finish(reason=FinishReason.TOOL_CALLS)
        folded = await b.folded(turn)
        assert folded.finish_reason is FinishReason.TOOL_CALLS
        assert folded.text == "Let me add."
        assert [(t.id, t.name, t.arguments, t.result) for t in folded.tools] == [
            ("c1", "add", '{"a":1}', None),
            ("c1_2", "add", "{}", None),
        ]
        assert [use.signature for use in (await b.row(turn)).answer.tools] == ["signed", None]
        replayed = await b.events(turn)
        assert not [event for event in replayed if isinstance(event, ToolEnd)]
        assert [e.description for e in replayed if isinstance(e, ToolStart)] == ["Adds.", "Adds."]


async def test_model_goes_on_from_the_callers_result() -> None:
    earlier = (
        Message.of(Role.USER, "Add."),
        Message(Role.ASSISTANT, (ToolCallPart("c1", "add", "{}"),)),
        Message(Role.TOOL, (ToolResultPart("c1", "add", "3"),)),
    )
    async with bench() as b:
        turn = await b.submit("", keep=False, earlier=earlier, extras=Extras(tools=(ADD,)))
        call = await b.provider.call()
        assert call.request.messages[1:] == earlier
        call.finish("Three.")
        assert (await b.folded(turn)).text == "Three."
        with pytest.raises(InvalidRequest, match="empty"):
            await b.submit("", keep=False, earlier=earlier[:1])


async def test_next_turn_is_told_nothing_of_a_call_without_a_result() -> None:
    async with bench() as b:
        turn = await b.submit(extras=Extras(tools=(ADD,)))
        call = await b.provider.call()
        call.say("Let me add.")
        call.send(ToolCallDelta(0, "c1", "add", "{}"))
        call.finish(reason=FinishReason.TOOL_CALLS)
        await b.folded(turn)
        after = await b.submit("And now?")
        assert (await b.provider.call(1)).prompt == ["Hello?", "Let me add.", "And now?"]
        (await b.provider.call(1)).finish("No.")
        await b.folded(after)
