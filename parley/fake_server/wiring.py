"""Wiring: an answer in a dialect, with its faults, as the steps that send it."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from parley.fake_server.answer import Answer, Complaint, Dialect, Mark, Spoken, encoded
from parley.fake_server.exchange import Step, cut, drip, hang, pause, reset
from parley.fake_server.script import LAST_KINDS, Fault, Scripted, Wire

Steps = list[bytes | Step]

_NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
_RANKS: dict[object, float] = {"finish": 1e9, "usage": 1e9 + 1, "end": 1e9 + 2, "over": math.inf}
_BARE = {"keepalive": b": keepalive", "ping": b"event: ping"}
_BOM = b"\xef\xbb\xbf"
# JSON may be broken over lines where a token ends.
_BREAK = re.compile(rb'(?<=[{}\[\]]),(?=["{\[])')


def document_steps(reply: Scripted, dialect: Dialect, answer: Answer) -> Steps:
    """Send the answer as one document."""
    waits = [pause(reply.first_pause_ms / 1000)] if reply.first_pause_ms else []
    return [*waits, encoded(dialect.document(answer))]


def stream_steps(reply: Scripted, dialect: Dialect, answer: Answer) -> Steps:
    """Send the answer as events, up to the fault that ends it."""
    steps: Steps = [_BOM] if reply.wire.bom else []
    steps += _in_order(reply, dialect, answer)
    return _packed(steps, reply.wire)


def before_the_status(reply: Scripted) -> Step | None:
    """Give what goes wrong before the status line is sent, if something does."""
    faults = (fault for fault in reply.faults if fault.after == "request")
    return next((_ending(fault) for fault in faults if fault.kind in LAST_KINDS), None)


def _in_order(reply: Scripted, dialect: Dialect, answer: Answer) -> Iterator[bytes | Step]:
    newline = _NEWLINES[reply.wire.newline or dialect.newline]
    later = sorted((f for f in reply.faults if f.after != "request"), key=_rank_of)
    begun = 0
    for mark, data in [*dialect.stream(answer), ("over", b"")]:
        while later and _rank_of(later[0]) < _rank(mark):
            fault = later.pop(0)
            yield from _fault_steps(fault, reply, dialect, answer, newline)
            if fault.kind in LAST_KINDS | {"error"}:
                return
        if mark == "over" or (mark == "end" and not reply.wire.done):
            continue
        if isinstance(mark, int) and mark != begun:
            yield from _pauses(reply, begun)
            begun = mark
        yield framed(data, reply.wire, newline)


def _rank(mark: Mark | str) -> float:
    return _RANKS[mark] if isinstance(mark, str) else mark


def _rank_of(fault: Fault) -> float:
    """Behind nothing at all is ahead of the role, which has mark 0."""
    return _RANKS[fault.after] if isinstance(fault.after, str) else fault.after or -1


def _pauses(reply: Scripted, begun: int) -> Iterator[Step]:
    """Wait ahead of a piece; what follows the last one comes at once."""
    seconds = reply.pause_ms / 1000
    if begun == 0:
        seconds = reply.first_pause_ms / 1000
    elif reply.tokens_per_second:
        seconds = 1 / reply.tokens_per_second
    if seconds:
        yield pause(seconds)


def _fault_steps(
    fault: Fault, reply: Scripted, dialect: Dialect, answer: Answer, newline: bytes
) -> Iterator[bytes | Step]:
    if fault.kind in {"cut", "reset", "hang", "slow"}:
        yield _ending(fault)
    elif fault.kind == "send" and not fault.event:
        yield fault.text.encode()
    elif fault.kind in _BARE:
        yield _BARE[fault.kind] + newline * 2
    else:
        for data in _events(fault, reply, dialect, answer):
            yield framed(data, reply.wire, newline, fault.event)


def _events(fault: Fault, reply: Scripted, dialect: Dialect, answer: Answer) -> Iterable[bytes]:
    if fault.kind == "send":
        return [fault.text.encode()]
    if fault.kind == "bad_json":
        return [fault.text.encode() or b'{"choices":[{"index":0,"delta":{"content":"a"']
    if fault.kind == "bad_utf8":
        return [_spoken("?", dialect, answer).replace(b"?", b"\xff")]
    if fault.kind == "big":
        return [_spoken("x" * fault.bytes, dialect, answer)]
    if fault.kind == "error":
        message = fault.text or "Model is overloaded"
        return dialect.failure(Complaint(fault.status, message, reply.code))
    return ()


def _spoken(text: str, dialect: Dialect, answer: Answer) -> bytes:
    """Write a piece of the answer with another text."""
    other = replace(answer, pieces=(Spoken(text),), finish="")
    return next(data for mark, data in dialect.stream(other) if mark == 1)


def _ending(fault: Fault) -> Step:
    if fault.kind == "cut":
        return cut
    if fault.kind == "reset":
        return reset
    if fault.kind == "slow":
        return drip(fault.text.encode() or b"d", fault.every_ms / 1000)
    if fault.text:
        return drip(fault.text.encode(), fault.every_ms / 1000)
    return hang


def framed(data: bytes, wire: Wire, newline: bytes, name: str = "") -> bytes:
    """Write one event: its lines, and the blank one."""
    field = b"data: " if wire.space else b"data:"
    if wire.multiline:
        data = _BREAK.sub(b",\n", data)
    lines = [field + line for line in data.split(b"\n")]
    if name:
        lines.insert(0, b"event: " + name.encode())
    return newline.join(lines) + newline * 2


def _packed(steps: Steps, wire: Wire) -> Steps:
    """Cut the bytes into packets as the wire says."""
    if not wire.final_blank and steps and isinstance(last := steps[-1], bytes):
        steps[-1] = last.rstrip(b"\r\n")
    if wire.packed:
        steps = _joined(steps)
    if wire.packet_bytes:
        steps = [packet for step in steps for packet in _packets(step, wire.packet_bytes)]
    return steps


def _joined(steps: Steps) -> Steps:
    joined: Steps = []
    for step in steps:
        if isinstance(step, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += step
        else:
            joined.append(step)
    return joined


def _packets(step: bytes | Step, size: int) -> Steps:
    if not isinstance(step, bytes):
        return [step]
    return [step[start : start + size] for start in range(0, len(step), size)]
