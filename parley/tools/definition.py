"""Definition: a typed async function with a docstring as a tool that a model can call.

The function's parameters are the schema, its docstring tells the model what it is for.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from parley.chat.models import ToolSpec
from parley.chat.tools import Source
from parley.tools.failures import ToolFailed

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ACTION_CHARS = 200
_SHOWN_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gives: text for the model, and where it is from, for people to look at."""

    text: str
    sources: Sequence[Source] = ()


Call = Callable[..., Awaitable[str | Result]]
F = TypeVar("F", bound=Call)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what the model is told of it, what calls it, and its bounds.

    `action` says to people what a call is about to do; it is a template of the arguments.
    """

    spec: ToolSpec
    call: Call
    arguments: type[BaseModel]
    action: str
    timeout_s: float = 30.0
    limit_chars: int = 32_000
    origin: str = field(default="", compare=False)

    def read(self, arguments: str) -> dict[str, Any]:
        """Read arguments as a model wrote them; raises `ToolFailed` with what is wrong."""
        try:
            read = self.arguments.model_validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            raise ToolFailed(_complaint(error), "invalid_arguments") from None
        except (RecursionError, ValueError):
            raise ToolFailed("The arguments are not JSON.", "invalid_arguments") from None
        return {name: getattr(read, name) for name in self.arguments.model_fields}

    def says(self, arguments: str) -> str:
        """Say to people what a call is about to do."""
        try:
            said = self.action.format(**self.read(arguments))
        except (ToolFailed, LookupError, AttributeError, ValueError):
            said = f"Calling {self.spec.name}"
        line = " ".join(said.split())
        return line if len(line) <= _ACTION_CHARS else line[: _ACTION_CHARS - 1] + "…"


def tool(
    action: str = "", *, name: str = "", timeout_s: float = 30.0, limit_chars: int = 32_000
) -> Callable[[F], F]:
    """Register a typed async function as a tool; it stays as it is.

    ``action`` is what people see while it runs, with the arguments in braces. What the function
    raises is told to the model as a failure; `ToolFailed` says it in its own words.
    """

    def register(function: F) -> F:
        found = tool_of(function, action, name=name, timeout_s=timeout_s, limit_chars=limit_chars)
        _registered.append(found)
        return function

    return register


def tool_of(
    call: Call,
    action: str = "",
    *,
    name: str = "",
    timeout_s: float = 30.0,
    limit_chars: int = 32_000,
) -> Tool:
    """Make a tool of a function or a bound method; raises `TypeError` for what cannot be one."""
    name = name or getattr(call, "__name__", "")
    if not _NAME.fullmatch(name):
        raise TypeError(f"{name!r} is no name of a tool: write letters, digits, _ and - only")
    if not inspect.iscoroutinefunction(call):
        raise TypeError(f"the tool {name!r} must be an async function")
    description = inspect.getdoc(call)
    if not description:
        raise TypeError(f"the tool {name!r} needs a docstring: the model reads it")
    arguments = _arguments_of(call, name)
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    return Tool(
        ToolSpec(name, description, schema),
        call,
        arguments,
        action or f"Calling {name}",
        timeout_s,
        limit_chars,
        _origin(call),
    )


_registered: list[Tool] = []


def registrations() -> tuple[Tool, ...]:
    """Everything that was registered in this process, in order."""
    return tuple(_registered)


def newest(tool: Tool) -> Tool:
    """Give a tool as its file has it now: while one develops it is run again."""
    here = _file_of(tool)
    found = (t for t in reversed(_registered) if t.spec.name == tool.spec.name)
    return next((t for t in found if _file_of(t) == here), tool)


def _file_of(tool: Tool) -> str:
    return tool.origin.rpartition(":")[0]


def _arguments_of(call: Call, name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(call, eval_str=True).parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"the tool {name!r} may have neither *{parameter.name} nor /")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"the tool {name!r} needs a type for its parameter {parameter.name!r}")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    return create_model(f"{name} arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _complaint(error: ValidationError) -> str:
    """Say what is wrong with arguments, without the values: the model has those."""
    wrong = [
        f"{'.'.join(map(str, details['loc'])) or 'the whole'}: {details['msg']}"
        for details in error.errors(include_url=False, include_input=False)[:_SHOWN_ERRORS]
    ]
    return f"The arguments are wrong. {'; '.join(wrong)}."


def _origin(call: Call) -> str:
    code = getattr(inspect.unwrap(call), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""
