"""Conversations with everything that a message can hold, as hypothesis draws them."""

import json

from hypothesis import strategies as st

from parley.chat.messages import (
    ImagePart,
    Message,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from parley.chat.models import (
    CompletionRequest,
    ResponseFormat,
    Sampling,
    ToolChoice,
    ToolSpec,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolSpec("weather", "Tells the weather.", SCHEMA)
CLOCK = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})

_words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_values = st.one_of(st.integers(-9, 9), st.booleans(), st.none(), _words)
_arguments = st.dictionaries(_words, _values, max_size=3).map(json.dumps)
_signatures = st.sampled_from([None, "c2ln", '{"google":{"thought_signature":"c2ln"}}'])
_images = st.builds(
    ImagePart, st.sampled_from(["image/png", "image/jpeg"]), st.binary(min_size=1, max_size=9)
)


@st.composite
def _asked(draw: st.DrawFn) -> Message:
    text = TextPart(draw(_words))
    images = draw(st.lists(_images, max_size=2))
    return Message(Role.USER, (text, *images))


@st.composite
def _called(draw: st.DrawFn, number: int) -> list[Message]:
    """A message with calls, and the result of each."""
    said = draw(st.lists(st.builds(TextPart, _words), max_size=1))
    calls = [
        ToolCallPart(
            f"call_{number}_{i}",
            f"tool_{i}",
            draw(_arguments),
            draw(_signatures) if i == 0 else None,
        )
        for i in range(draw(st.integers(1, 3)))
    ]
    results = [
        Message(Role.TOOL, (ToolResultPart(c.id, c.name, draw(_words), draw(st.booleans())),))
        for c in calls
    ]
    return [Message(Role.ASSISTANT, (*said, *calls)), *results]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """System, then turns with calls in some of them, then a question."""
    messages = [Message.of(Role.SYSTEM, t) for t in draw(st.lists(_words, max_size=1))]
    for number in range(draw(st.integers(0, 3))):
        messages.append(draw(_asked()))
        if draw(st.booleans()):
            messages += draw(_called(number))
        messages.append(Message.of(Role.ASSISTANT, draw(_words)))
    return (*messages, draw(_asked()), *draw(st.one_of(st.just([]), _called(9))))


_sampling = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 4096),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.01, 0.99),
    stop=st.lists(_words, max_size=4).map(tuple),
    seed=st.none() | st.integers(0, 2**31 - 1),
)
_choices = st.sampled_from(
    [
        None,
        ToolChoice("auto"),
        ToolChoice("none"),
        ToolChoice("required"),
        ToolChoice(name="weather"),
    ]
)
_forms = st.sampled_from([None, ResponseFormat(SCHEMA), ResponseFormat(SCHEMA, "w", strict=True)])


@st.composite
def requests(draw: st.DrawFn, model: str = "m") -> CompletionRequest:
    """A request with all that it can ask for; JSON without a schema apart."""
    tools = draw(st.sampled_from([(), (WEATHER,), (WEATHER, CLOCK)]))
    return CompletionRequest(
        model,
        draw(conversations()),
        draw(_sampling),
        tools,
        draw(_choices) if tools else None,
        None if tools else draw(_forms),
    )
