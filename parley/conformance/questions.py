"""Questions: a request in the dialect under test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DialectName = Literal["openai", "tgi"]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": SCHEMA,
    },
}
_ROUND = (
    {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Rain, 9 degrees."},
)
_RED_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
    "/pLvAAAAAElFTkSuQmCC"
)
Asked = tuple[str, Mapping[str, object]]


@dataclass(slots=True)
class Questions:
    """Writes requests; `model` may be found out later."""

    dialect: DialectName
    model: str

    def ask(self, message: str, **options: object) -> Asked:
        """Give path and body. Options: max_tokens, stream, and OpenAI's own.

        In chat also system; tools, which is OpenAI's choice; results, of a call; image.
        """
        if self.dialect == "tgi":
            return self._native(message, options)
        return "/chat/completions", self._chat(message, options)

    def _chat(self, message: str, options: dict[str, object]) -> dict[str, object]:
        system = options.pop("system", None)
        choice = options.pop("tools", None)
        tools = {"tools": [_TOOL], "tool_choice": choice} if choice else {}
        before = [{"role": "system", "content": system}] if system else []
        after = _ROUND if options.pop("results", None) else ()
        content: object = message
        if options.pop("image", None):
            shown = {"type": "image_url", "image_url": {"url": _RED_PIXEL}}
            content = [{"type": "text", "text": message}, shown]
        stream = options.pop("stream", True)
        extra = {"stream_options": {"include_usage": True}} if stream else {}
        return {
            "model": options.pop("model", self.model),
            "messages": [*before, {"role": "user", "content": content}, *after],
            "stream": stream,
            **extra,
            **tools,
            **options,
        }

    def _native(self, message: str, options: dict[str, object]) -> Asked:
        path = "/generate_stream" if options.pop("stream", True) else "/generate"
        options.pop("model", None)
        parameters = {"max_new_tokens": options.pop("max_tokens", 16), "details": True, **options}
        return path, {"inputs": message, "parameters": parameters}
