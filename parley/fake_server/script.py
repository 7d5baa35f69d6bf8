"""The script: what the fake model server answers, read from TOML."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0)]
Position = Count | Literal["request", "finish", "end"]
Kind = Literal[
    "cut", "reset", "hang", "slow", "end",
    "send", "keepalive", "ping", "bad_json", "bad_utf8", "big", "error",
]  # fmt: skip
# After these nothing more is sent.
LAST_KINDS = frozenset({"cut", "reset", "hang", "slow", "end"})
_WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the script."""


class ToolCall(_Table, frozen=True):
    """A call of a tool; without `index` as Gemini's compatible URL writes it."""

    name: str
    arguments: str = "{}"
    id: str | None = None
    index: bool = True


class Usage(_Table, frozen=True):
    """What the answer is said to have cost."""

    input: Count = 0
    output: Count = 0


class Wire(_Table, frozen=True):
    """How events are written; the defaults are those of the dialect."""

    newline: Literal["lf", "crlf", "cr"] | None = None
    space: bool = True
    bom: bool = False
    multiline: bool = False
    packed: bool = False
    packet_bytes: Count = 0
    final_blank: bool = True
    done: bool = True
    framing: Literal["chunked", "close"] = "chunked"


class Fault(_Table, frozen=True):
    """Something that goes wrong behind `after` pieces of the answer."""

    kind: Kind
    after: Position = 0
    text: str = ""
    status: int = 503
    event: str = ""
    bytes: Count = 2 * 2**20
    every_ms: Milliseconds = 50


class Scripted(_Table, frozen=True):
    """One reply: an answer in pieces, or a `status` or `body` in its place, and its faults."""

    name: str = ""
    when: str | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    text: str = ""
    chunks: tuple[str, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    usage: Usage | bool = True
    pause_ms: Milliseconds = 0
    first_pause_ms: Milliseconds = 0
    tokens_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: dict[str, str] = {}
    error: str = ""
    code: str | None = None
    body: str | None = None
    content_type: str | None = None
    stream: bool = True
    wire: Wire = Wire()
    faults: tuple[Fault, ...] = ()

    def matches(self, message: str) -> bool:
        """Say whether the reply is for this last message."""
        return self.when is not None and re.search(self.when, message) is not None

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text as it is sent: the chunks, or one for each word."""
        return self.chunks or words(self.text)


def words(text: str) -> tuple[str, ...]:
    """Cut a text into words, each with the blank before it."""
    return tuple(_WORD.findall(text)) or ((text,) if text else ())


class Script(_Table, frozen=True):
    """The whole script; replies without `when` are given in order."""

    model: str = "fake"
    dialect: Literal["openai", "tgi"] = "openai"
    after_last: Literal["repeat", "loop", "default"] = "repeat"
    api_key: str | None = None
    known_models_only: bool = False
    context_window: Count = 8192
    reply: tuple[Scripted, ...] = ()


class ScriptError(Exception):
    """The script cannot be used; the message has the line, and what to do."""


def read_script(path: Path) -> Script:
    """Read a script from a file; raises `ScriptError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ScriptError(f"{path}: cannot be read: {why}") from None
    try:
        return parse_script(text)
    except ScriptError as error:
        raise ScriptError(f"{path}, {error}") from None


def parse_script(text: str) -> Script:
    """Read a script; raises `ScriptError`."""
    try:
        script = msgspec.convert(tomllib.loads(text), Script)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).rstrip(")").partition(" (at ")
        if not where.startswith("line"):  # the end of the document, it says
            where = f"line {max(len(text.splitlines()), 1)}"
        raise ScriptError(f"{where}: this is not TOML: {what}") from None
    except msgspec.ValidationError as error:
        raise ScriptError(_explained(text, str(error))) from None
    for number, reply in enumerate(script.reply):
        _check(text, number, reply)
    return script


def _check(text: str, number: int, reply: Scripted) -> None:
    """Refuse what is well-formed and means nothing."""
    if reply.when is not None:
        try:
            re.compile(reply.when)
        except re.error as error:
            raise _wrong(text, number, "when", f"this is no pattern: {error}") from None
    if reply.text and reply.chunks:
        raise _wrong(text, number, "chunks", "give either text or chunks")
    for name, value in reply.headers.items():
        if not re.fullmatch(r"[!#-'*+.^-z|~\w-]+: [ -~]*", f"{name}: {value}", re.ASCII):
            raise _wrong(text, number, "headers", f"{name} is not a header: use ASCII, one line")
    count = len(words(reply.reasoning)) + len(reply.pieces) + len(reply.tool_calls)
    for fault in reply.faults:
        if isinstance(fault.after, int) and fault.after > count:
            mend = f"the answer has {count} pieces, the fault comes after {fault.after}: lower it"
            raise _wrong(text, number, "after", mend)


def _wrong(text: str, number: int, key: str, mend: str) -> ScriptError:
    return ScriptError(f"line {_line(text, number, key)}: {key}: {mend}")


def _explained(text: str, message: str) -> str:
    """Say msgspec's complaint with the line, and the nearest known name."""
    what, _, path = message.partition(" - at `")
    steps = re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path.rstrip("`"))
    number = next((int(index) for _, index in steps if index.isdigit()), None)
    unknown = re.search(r"unknown field `(.+?)`", what)
    names = [name for name, _ in steps if name]
    key = unknown[1] if unknown else (names[-1] if names else "")
    if unknown:
        near = difflib.get_close_matches(key, _known_names(names), 1)
        what = f"there is no {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
    return f"line {_line(text, number, key)}: {key + ': ' if not unknown else ''}{what}"


def _known_names(path: list[str]) -> tuple[str, ...]:
    tables: dict[str, type[_Table]] = {
        "reply": Scripted, "wire": Wire, "faults": Fault, "tool_calls": ToolCall, "usage": Usage
    }  # fmt: skip
    table = next((tables[name] for name in reversed(path) if name in tables), Script)
    return table.__struct_fields__


def _line(text: str, number: int | None, key: str) -> int:
    """Find the line of a key, in the reply of that number where it is one's."""
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*reply\s*\]\]", line)]
    first, last = 0, len(lines)
    if number is not None and number < len(heads):
        first, last = heads[number], [*heads, len(lines)][number + 1]
    said = re.compile(rf"(^|[\s{{,\[.\"']){re.escape(key)}[\"']?\s*[=\]]")
    found = (n for n in range(first, last) if key and said.search(lines[n]))
    return next(found, first) + 1
