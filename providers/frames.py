"""Frames: the bytes of an event stream, cut into events whatever the cut of the network.

Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
Two things are not as there: `id` and `retry` are read over, since nobody resumes a completion, and
an event without its final blank line is not dropped but surfaced by `close`, since servers omit it.
"""

import msgspec

from providers.config import MAX_EVENT_BYTES

_BOM = b"\xef\xbb\xbf"
_FIELD = b"data: "


class OversizedEvent(ValueError):
    """An event is larger than the reader keeps."""


class Frame(msgspec.Struct, gc=False):
    """One event: its data, lines joined by LF, and its type where one was named."""

    data: bytes
    event: str = ""

    @property
    def payload(self) -> object:
        """The JSON that it holds, whatever it is; the text of an error event may be plain."""
        try:
            return msgspec.json.decode(self.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.data.decode(errors="replace") if self.event == "error" else None


class FrameReader:
    """Cuts bytes into frames; every cut of a stream gives the same frames.

    Keeps at most one unfinished event, of `max_bytes`; raises `OversizedEvent` for a larger one.
    """

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._head: bytes | None = b""
        self._after_cr = False
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Give the events that these bytes complete."""
        if self._head is not None:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if self._rest:
            data = self._joined(data)
        *blocks, rest = data.split(b"\n\n")
        self._rest += rest
        # The block's own LF may be there, the one of the blank line not yet.
        self._check(len(self._rest) - 1)
        return self._frames(blocks)

    def close(self) -> list[Frame]:
        """Give the event that the stream ended in, if it has data."""
        block = bytes(self._rest)
        self._rest.clear()
        return self._frames([block])

    def _frames(self, blocks: list[bytes]) -> list[Frame]:
        frames = []
        most = self._max_bytes
        for block in blocks:
            if len(block) > most:
                self._check(len(block))
            if block[:6] == _FIELD and b"\n" not in block:
                frames.append(Frame(block[6:]))
            elif (frame := _parse(block)) is not None:
                frames.append(frame)
        return frames

    def _joined(self, data: bytes) -> bytes:
        """Take out what can be cut; looks only at what is new, so that a large event stays linear."""
        seen = len(self._rest)
        self._rest += data
        if self._rest.find(b"\n\n", seen - 1) < 0:
            return b""
        joined = bytes(self._rest)
        self._rest.clear()
        return joined

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn CR LF and CR into LF, at once: the LF of a pair that is cut is skipped later."""
        if not data:
            return data
        if self._after_cr:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            msg = f"an event of more than {self._max_bytes} bytes"
            raise OversizedEvent(msg)


class WholeBody:
    """Reads a body that is one JSON document as if it were one event."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._body = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Keep the bytes; gives nothing before the end."""
        self._body += data
        if len(self._body) > self._max_bytes:
            msg = f"a body of more than {self._max_bytes} bytes"
            raise OversizedEvent(msg)
        return []

    def close(self) -> list[Frame]:
        """Give the body, if there is one."""
        body = bytes(self._body)
        self._body.clear()
        return [Frame(body)] if body else []


def _parse(block: bytes) -> Frame | None:
    """Read the lines of one event; None without data: a comment, a lone `event` or `retry`."""
    data: list[bytes] = []
    event = b""
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
    if not data:
        return None
    return Frame(b"\n".join(data), event.decode(errors="replace"))
