"""Asking: what a turn asks of a model beside the messages. Pure."""

from collections.abc import Sequence

import msgspec

from parley.chat.messages import Message, Part, Role, TextPart
from parley.chat.models import CompletionRequest, Sampling, Toolbox, ToolSpec
from parley.chat.turns import Turn


def question_of(turn: Turn) -> tuple[Message, ...]:
    """Give the turn's message, its images first; none where the model goes on from a result."""
    parts: list[Part] = [*turn.extras.images, *([TextPart(turn.text)] if turn.text else [])]
    return (Message(Role.USER, tuple(parts)),) if parts else ()


def request_of(
    turn: Turn, upstream_model: str, sampling: Sampling, toolbox: Toolbox
) -> CompletionRequest:
    """Make the request of a turn, but for its messages.

    A tool of the caller's takes the place of one of Parley's that has its name.
    """
    extras = turn.extras
    theirs = {tool.name for tool in extras.tools}
    tools = (*extras.tools, *(tool for tool in toolbox.tools if tool.name not in theirs))
    return CompletionRequest(
        upstream_model,
        (),
        sampling,
        tools=tools,
        tool_choice=toolbox.choice if tools else None,
        response_format=extras.response_format,
        language=extras.language,
    )


def specs_text(tools: Sequence[ToolSpec]) -> str:
    """Give tools as the text that their tokens are counted of."""
    return msgspec.json.encode(tools).decode()
