"""The playlist: which reply is next."""

import json

from parley.fake_server.asked import Asked, is_about
from parley.fake_server.made_up import example_of
from parley.fake_server.script import Script, Scripted, ToolCall

_ECHO = (
    "This is Parley's fake model server: no model is connected. You said: {message}"
    " A script decides what it says instead (parley fake-server --script FILE)."
)


class Playlist:
    """Gives replies in order; those with a pattern when the last message matches, and first."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._given = [0] * len(script.reply)

    def next(self, asked: Asked) -> tuple[int | None, Scripted]:
        """Give the reply to a request, and its number in the script, from 1."""
        found = self._matching(asked.message)
        if found is None:
            found = self._in_order()
        if found is None:
            return None, default_reply(asked)
        self._given[found] += 1
        return found + 1, self._script.reply[found]

    def _matching(self, message: str) -> int | None:
        matching = [n for n, reply in enumerate(self._script.reply) if reply.matches(message)]
        left = (n for n in matching if self._given[n] < self._script.reply[n].times)
        # One that is used up goes on being the answer to its question.
        return next(left, matching[-1] if matching else None)

    def _in_order(self) -> int | None:
        ordered = [n for n, reply in enumerate(self._script.reply) if reply.when is None]
        for number in ordered:
            if self._given[number] < self._script.reply[number].times:
                return number
        if not ordered or self._script.after_last == "default":
            return None
        if self._script.after_last == "repeat":
            return ordered[-1]
        for number in ordered:
            self._given[number] = 0
        return ordered[0]


def default_reply(asked: Asked) -> Scripted:
    """Answer without a script: call a tool that must be or that the message is about, or speak."""
    if asked.tool and (asked.must_call or is_about(asked.message, asked.tool.name)):
        arguments = json.dumps(example_of(asked.tool.parameters, asked.message) or {})
        return Scripted(tool_calls=(ToolCall(name=asked.tool.name, arguments=arguments),))
    if asked.form is not None:
        made_up = example_of(asked.form, "fake") if asked.form else {"answer": "fake"}
        return Scripted(text=json.dumps(made_up, ensure_ascii=False))
    return Scripted(text=_ECHO)
