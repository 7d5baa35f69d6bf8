"""Questions: a request in the dialect under test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DialectName = Literal["openai", "tgi"]

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
Asked = tuple[str, Mapping[str, object]]


@dataclass(slots=True)
class Questions:
    """Writes requests; `model` may be found out later."""

    dialect: DialectName
    model: str

    def ask(self, message: str, **options: object) -> Asked:
        """Give path and body. Options: max_tokens, system, stream, tools, and OpenAI's own."""
        if self.dialect == "tgi":
            return self._native(message, options)
        return "/chat/completions", self._chat(message, options)

    def _chat(self, message: str, options: dict[str, object]) -> dict[str, object]:
        system = options.pop("system", None)
        tools = {"tools": [_TOOL], "tool_choice": "auto"} if options.pop("tools", None) else {}
        messages = [{"role": "system", "content": system}] if system else []
        stream = options.pop("stream", True)
        extra = {"stream_options": {"include_usage": True}} if stream else {}
        return {
            "model": options.pop("model", self.model),
            "messages": [*messages, {"role": "user", "content": message}],
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
