"""Doors: each surface as one caller uses it, and what it makes of the scripted turn."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from tests.e2e.page_socket import page_socket
from tests.e2e.resumable import new_conversation, received
from tests.e2e.ws_client import events_until, next_event, socket_of
from tests.e2e.ws_client import say as say_on
from tests.fakes.model_server import (
    DONE,
    Reply,
    chunk,
    delta,
    finish,
    sse,
    usage,
)
from tests.server import ParleyProcess
from tests.sse_reader import read_events

CALL = {
    "index": 0,
    "id": "call_7",
    "type": "function",
    "function": {"name": "clock", "arguments": '{"city": "Ulm"}'},
}
THOUGHT, QUESTION = "Clocks, hm.", "What time is it?"
# With all that a wire could trip over: line ends, its own end, and what a page's Markdown eats.
TEXT = "Let me look.\n\nIn Ulm:noon\r\nis [DONE] whole."
SCRIPT: list[Reply] = [
    sse(
        delta({"reasoning_content": THOUGHT}),
        chunk("Let me look."),
        delta({"tool_calls": [CALL]}),
        finish("tool_calls"),
        usage(11, 5),
        DONE,
    ),
    sse(
        chunk("In Ulm:noon\r"), chunk("\nis [DO"), chunk("NE] whole."), finish(), usage(20, 7), DONE
    ),
]
# What is said through each door; only the last is looked at, and it does not see the first.
SAID = ["1", "2", QUESTION]
WANTED = {
    "text": TEXT,
    "reasoning": THOUGHT,
    "tools": [("call_7", "clock", '{"city": "Ulm"}')],
    "results": [("call_7", "noon in Ulm", None)],
    "usage": (31, 12),
    "end": "stop",
}
Events = list[dict[str, Any]]
Seen = dict[str, Any]


@dataclass(frozen=True)
class Talk:
    """A caller, who is the same one at every door."""

    parley: ParleyProcess
    client: httpx2.AsyncClient
    cookie: str

    async def stream(self, method: str, path: str, body: object = None) -> Events:
        async with self.client.stream(method, path, json=body) as response:
            assert response.status_code == 200, await response.aread()
            return [each.event async for each in received(response)]

    async def posted(self, path: str, body: object, **headers: str) -> list[str]:
        """What is in the events of an answer; the last of them says that it is over."""
        response = await self.client.post(path, json=body, headers=headers)
        assert response.status_code == 200, response.text
        *events, end = read_events(response.content)
        assert end == "[DONE]"
        return events


def folded(events: Events) -> Seen:
    """What every reader of typed events agrees on."""
    of = {kind: [e["content"] for e in events if e["type"] == kind] for kind in KINDS}
    assert not of["error"]
    (cost,) = of["usage"]
    (end,) = of["done"]
    return {
        "text": "".join(of["text"]),
        "reasoning": "".join(of["reasoning"]),
        "tools": [(t["id"], t["name"], t["arguments"]) for t in of["tool_start"]],
        "results": [(t["id"], t["result"], t["error"]) for t in of["tool_end"]],
        "usage": (cost["input_tokens"], cost["output_tokens"]),
        "end": end["finish_reason"],
    }


KINDS = ("text", "reasoning", "tool_start", "tool_end", "usage", "done", "error")


def folded_and_pruned(events: Events) -> Seen:
    """A reader of what is live is told what the model did not see; the rows have it in the receipt."""
    pruned = [e["content"] for e in events if e["type"] == "context_pruned"]
    assert {(e["dropped_messages"], e["rule"]) for e in pruned} == {(2, "MAX_HISTORY_TURNS")}
    return folded(events)


async def chat_text(talk: Talk, said: list[str]) -> Seen:
    pieces: list[str] = []
    for text in said:
        pieces = await talk.posted("/chat", {"session_id": "parity", "message": text})
    # A line end is one event's second line: which one it was is not on this wire.
    return {"text": "".join(pieces).replace("noon\nis", "noon\r\nis")}


async def chat_events(talk: Talk, said: list[str]) -> Seen:
    events: list[str] = []
    for text in said:
        asked = {"session_id": "parity", "message": text, "format": "events"}
        events = await talk.posted("/chat", asked)
    return folded_and_pruned([msgspec.json.decode(event) for event in events])


async def _told(talk: Talk, said: list[str]) -> Events:
    events: Events = []
    id = await new_conversation(talk.client)
    for text in said:
        events = await talk.stream(
            "POST", f"/api/v1/conversations/{id}/messages", {"message": text}
        )
    return events


async def conversations(talk: Talk, said: list[str]) -> Seen:
    return folded_and_pruned(await _told(talk, said))


async def turns_api(talk: Talk, said: list[str]) -> Seen:
    """What is over, read again from the rows."""
    turn_id = (await _told(talk, said))[0]["turn_id"]
    return folded(await talk.stream("GET", f"/api/v1/turns/{turn_id}/events"))


async def websocket(talk: Talk, said: list[str]) -> Seen:
    events: Events = []
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        for text in said:
            await say_on(socket, text)
            events = await events_until(socket)
    return folded_and_pruned(events)


async def follow_frame(talk: Talk, said: list[str]) -> Seen:
    turn_id = (await _told(talk, said))[0]["turn_id"]
    async with socket_of(talk.parley, "/ws/chat", Cookie=talk.cookie) as socket:
        await socket.send(json.dumps({"type": "follow", "turn_id": turn_id}))
        return folded(await events_until(socket))


async def old_websocket(talk: Talk, said: list[str]) -> Seen:
    got = ""
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        for number, (text, ends) in enumerate(zip(said, ("one", "two", TEXT), strict=True)):
            await socket.send(json.dumps({"id": str(number), "text": text}))
            got = ""
            # These frames do not say that an answer is over.
            while got != ends:
                frame = await next_event(socket)
                assert frame["id"] == str(number)
                got += frame["text"]
    return {"text": got}


async def plain_websocket(talk: Talk, said: list[str]) -> Seen:
    got: str | bytes = ""
    async with socket_of(talk.parley, "/ws?format=text", Cookie=talk.cookie) as socket:
        for text in said:
            await socket.send(text)
            got = await socket.recv()
    return {"text": got}


async def openai_stream(talk: Talk, said: list[str]) -> Seen:
    chunks: list[Any] = []
    id = await new_conversation(talk.client)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for text in said:
        asked = {"model": "able", "messages": [{"role": "user", "content": text}]} | options
        sent = await talk.posted("/v1/chat/completions", asked, **{"x-conversation-id": id})
        chunks = [msgspec.json.decode(each) for each in sent]
    choices = [choice for each in chunks for choice in each["choices"]]
    cost = chunks[-1]["usage"]
    return {
        "text": "".join(choice["delta"].get("content") or "" for choice in choices),
        "reasoning": "".join(choice["delta"].get("reasoning_content", "") for choice in choices),
        "usage": (cost["prompt_tokens"], cost["completion_tokens"]),
        "end": choices[-1]["finish_reason"],
    }


async def openai_whole(talk: Talk, said: list[str]) -> Seen:
    done: dict[str, Any] = {}
    headers = {"x-conversation-id": await new_conversation(talk.client)}
    for text in said:
        asked = {"model": "able", "messages": [{"role": "user", "content": text}]}
        response = await talk.client.post("/v1/chat/completions", json=asked, headers=headers)
        done = response.json()
    (choice,) = done["choices"]
    return {
        "text": choice["message"]["content"],
        "reasoning": choice["message"]["reasoning_content"],
        "usage": (done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]),
        "end": choice["finish_reason"],
    }


async def page(talk: Talk, said: list[str]) -> Seen:
    async with page_socket(talk.parley, talk.cookie) as socket:
        for number, text in enumerate(said, 1):
            await socket.say(text)
            await socket.next("task_end", number)
        shown, steps = socket.all("new_message"), socket.all("update_message")
    finals = [step["output"] for step in steps if step["type"] == "assistant_message"]
    results = [step["output"] for step in shown if step["type"] == "tool"]
    assert any("noon in Ulm" in result for result in results)
    return {"text": str(finals[-1]).replace("&#x3A;", ":").replace("\\:", ":")}


Door = Callable[[Talk, list[str]], Awaitable[Seen]]
STATEFUL: list[Door] = [
    conversations,
    chat_text,
    chat_events,
    turns_api,
    websocket,
    follow_frame,
    old_websocket,
    plain_websocket,
    openai_stream,
    openai_whole,
    page,
]
