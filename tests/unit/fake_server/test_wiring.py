"""However an answer is put on the wire, a reader of event streams gets the same answer."""

import json

from hypothesis import given
from hypothesis import strategies as st

from parley.fake_server.answer import Answer, Spoken
from parley.fake_server.openai import OPENAI
from parley.fake_server.script import Fault, Scripted, Wire
from parley.fake_server.wiring import stream_steps
from providers.frames import FrameReader

TEXTS = st.lists(st.text(min_size=1), max_size=5)
WIRES = st.builds(
    Wire,
    newline=st.sampled_from(["lf", "crlf", "cr"]),
    space=st.booleans(),
    bom=st.booleans(),
    multiline=st.booleans(),
    packed=st.booleans(),
    packet_bytes=st.integers(0, 7),
    final_blank=st.booleans(),
    done=st.booleans(),
)
HARMLESS = st.lists(
    st.builds(
        Fault,
        kind=st.sampled_from(["keepalive", "ping"]),
        after=st.integers(0, 5) | st.sampled_from(["finish", "end"]),
    ),
    max_size=3,
)


def said(texts: list[str], wire: Wire, faults: list[Fault]) -> tuple[str, list[str]]:
    """The text and the finish reasons of an answer that went over the wire."""
    answer = Answer(1, 0, "m", tuple(map(Spoken, texts)), "stop", 1, 1)
    steps = stream_steps(Scripted(wire=wire, faults=tuple(faults)), OPENAI, answer)
    reader = FrameReader()
    frames = [f for step in steps if isinstance(step, bytes) for f in reader.feed(step)]
    data = [frame.data for frame in [*frames, *reader.close()] if frame.data != b"[DONE]"]
    choices = [json.loads(one)["choices"][0] for one in data]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return text, [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@given(TEXTS, WIRES, HARMLESS)
def test_wire_changes_nothing_of_the_answer(
    texts: list[str], wire: Wire, faults: list[Fault]
) -> None:
    assert said(texts, wire, faults) == ("".join(texts), ["stop"])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.data())
def test_end_comes_behind_so_many_pieces(texts: list[str], data: st.DataObject) -> None:
    after = data.draw(st.integers(0, len(texts)))
    end = [Fault(kind="end", after=after)]
    assert said(texts, Wire(), end) == ("".join(texts[:after]), [])
    assert said(texts, Wire(), [Fault(kind="end", after="finish")])[1] == ["stop"]
