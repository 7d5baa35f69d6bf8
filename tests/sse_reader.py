"""What a client makes of a stream of server-sent events, by the letter of the specification.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re
from collections.abc import Iterator

_LINE_END = re.compile(r"\r\n|\r|\n")


def read_events(stream: bytes) -> Iterator[str]:
    """Give the data of each event."""
    data: list[str] = []
    for line in _LINE_END.split(stream.decode()):
        if not line:
            if "".join(data) or len(data) > 1:
                yield "\n".join(data)
            data = []
            continue
        field, _, value = line.partition(":")
        assert field == "data", f"nothing but data lines is promised, got {line!r}"
        data.append(value.removeprefix(" "))


def read_lines(stream: bytes) -> Iterator[str]:
    """Give what a simple client reads: each line behind ``data: ``, up to ``[DONE]``."""
    for line in stream.decode().split("\n"):
        if line:
            assert line.startswith("data: "), line
            if line.removeprefix("data: ").strip() == "[DONE]":
                return
            yield line.removeprefix("data: ")
