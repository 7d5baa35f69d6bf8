"""Events as JSON: the golden form of each, byte for byte, since clients parse it."""

from typing import get_args

import msgspec
import pytest

from parley.chat.deltas import FinishReason
from parley.chat.events import (
    Attempt,
    ContextPruned,
    Done,
    ErrorEvent,
    Event,
    ReasoningEvent,
    Snapshot,
    TextEvent,
    ToolEnd,
    ToolStart,
    TurnStart,
    UsageEvent,
    first_seq,
)
from parley.chat.usage import Usage
from parley.surfaces.wire import event_json

SEQ = first_seq(1)
GOLDEN: list[tuple[Event, str]] = [
    (
        TurnStart("t", SEQ, thread_id="c", message_id="m", model="demo:echo"),
        (
            '{"type":"turn_start","turn_id":"t","seq":4294967297,'
            '"content":{"conversation_id":"c","message_id":"m","model":"demo:echo"}}'
        ),
    ),
    (
        Attempt("t", SEQ, 2, "openai", "gpt-4o-mini", "TimedOut", keep=False),
        (
            '{"type":"attempt","turn_id":"t","seq":4294967297,"content":{"number":2,'
            '"provider":"openai","model":"gpt-4o-mini","reason":"TimedOut","keep":false}}'
        ),
    ),
    (
        TextEvent("t", SEQ, 'Grüße\n"', 7),
        '{"type":"text","turn_id":"t","seq":4294967297,"content":"Grüße\\n\\"","offset":7}',
    ),
    (
        ReasoningEvent("t", SEQ, "hm", 0),
        '{"type":"reasoning","turn_id":"t","seq":4294967297,"content":"hm","offset":0}',
    ),
    (
        Snapshot("t", SEQ, "so far", "hm"),
        (
            '{"type":"snapshot","turn_id":"t","seq":4294967297,'
            '"content":{"text":"so far","reasoning":"hm"}}'
        ),
    ),
    (
        ToolStart("t", SEQ, "c1", "add", "Adds.", "Add 1 and 2", '{"a":1,"b":2}'),
        (
            '{"type":"tool_start","turn_id":"t","seq":4294967297,"content":{"id":"c1",'
            '"name":"add","description":"Adds.","action":"Add 1 and 2",'
            '"arguments":"{\\"a\\":1,\\"b\\":2}"}}'
        ),
    ),
    (
        ToolEnd("t", SEQ, "c1", "add", "3"),
        (
            '{"type":"tool_end","turn_id":"t","seq":4294967297,'
            '"content":{"id":"c1","name":"add","result":"3","error":null,"sources":[]}}'
        ),
    ),
    (
        ContextPruned("t", SEQ, 4, 900, "history_turns"),
        (
            '{"type":"context_pruned","turn_id":"t","seq":4294967297,'
            '"content":{"dropped_messages":4,"dropped_tokens":900,"rule":"history_turns","more":false}}'
        ),
    ),
    (
        UsageEvent("t", SEQ, Usage(3, 2)),
        (
            '{"type":"usage","turn_id":"t","seq":4294967297,'
            '"content":{"input_tokens":3,"output_tokens":2,"estimated":false}}'
        ),
    ),
    (
        UsageEvent("t", SEQ, Usage(3, 2, 1, 0, estimated=True)),
        (
            '{"type":"usage","turn_id":"t","seq":4294967297,"content":{"input_tokens":3,'
            '"output_tokens":2,"reasoning_tokens":1,"cached_tokens":0,"estimated":true}}'
        ),
    ),
    (
        ErrorEvent("t", SEQ, "rate_limited", "Wait.", 5.0),
        (
            '{"type":"error","turn_id":"t","seq":4294967297,'
            '"content":"Wait.","code":"rate_limited","retry_after_s":5.0}'
        ),
    ),
    (
        Done("t", SEQ, FinishReason.STOP, 12, 345),
        (
            '{"type":"done","turn_id":"t","seq":4294967297,"content":{"finish_reason":"stop",'
            '"time_to_first_chunk_ms":12,"duration_ms":345}}'
        ),
    ),
    (
        Done("t", SEQ, FinishReason.STOPPED, None, 0),
        (
            '{"type":"done","turn_id":"t","seq":4294967297,"content":{"finish_reason":"stopped",'
            '"time_to_first_chunk_ms":null,"duration_ms":0}}'
        ),
    ),
]


@pytest.mark.parametrize(("event", "rendered"), GOLDEN)
def test_every_event_has_its_form(event: Event, rendered: str) -> None:
    assert event_json(event).decode() == rendered


def test_no_event_is_left_out() -> None:
    """A new member of the union needs its rendering and its golden line above."""
    assert {type(event) for event, _ in GOLDEN} == set(get_args(Event))


@pytest.mark.parametrize("event", [event for event, _ in GOLDEN])
def test_an_event_is_one_line(event: Event) -> None:
    """It stands behind `data: `: a line end inside would cut it."""
    assert b"\n" not in event_json(event)
    assert b"\r" not in event_json(event)


@pytest.mark.parametrize("event", [event for event, _ in GOLDEN])
def test_every_event_has_the_common_fields(event: Event) -> None:
    decoded = msgspec.json.decode(event_json(event))
    assert list(decoded)[:4] == ["type", "turn_id", "seq", "content"]
