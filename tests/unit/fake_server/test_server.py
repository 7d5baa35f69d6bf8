"""The server chooses replies, honours what is asked, and tells each request in a line."""

import json
import re
from typing import Any

import pytest

from parley.fake_server.exchange import listening
from parley.fake_server.script import parse_script
from parley.fake_server.server import ScriptedServer
from tests.unit.fake_server.support import CHAT, events, get, post, scripted

PATH = "/v1/chat/completions"
ORDER = """
after_last = "{after_last}"
[[reply]]
text = "one"
times = 2
[[reply]]
text = "two"
[[reply]]
when = "(?i)weather"
text = "sun"
"""


async def said(server: ScriptedServer, message: str = "Hello?", **more: object) -> str:
    messages = [{"role": "user", "content": message}]
    body = {**CHAT, "messages": messages, "stream": False, **more}
    _, _, text = await post(server, PATH, body)
    content: str = json.loads(text)["choices"][0]["message"]["content"]
    return content


@pytest.mark.parametrize(
    ("after_last", "then"),
    [("repeat", ["two", "two"]), ("loop", ["one", "one"]), ("default", ["This", "This"])],
)
async def test_replies_come_in_order(after_last: str, then: list[str]) -> None:
    async with scripted(ORDER.format(after_last=after_last)) as server:
        answers = [await said(server) for _ in range(5)]
        weather = await said(server, "What WEATHER!")
    assert [answer.split()[0] for answer in answers] == ["one", "one", "two", *then]
    assert weather == "sun"


async def test_default_answer_says_what_it_is() -> None:
    async with scripted() as server:
        assert "no model is connected. You said: Hello?" in await said(server)
        as_json = await said(server, response_format={"type": "json_object"})
        tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        spoken = await said(server, "Hello?", tools=tools)
        chunks = await events(server, PATH, CHAT | {"tools": tools, "tool_choice": "required"})
    assert json.loads(as_json)
    assert "You said: Hello?" in spoken, "it is not about looking"
    assert chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "look"


async def test_bounds_of_a_request_are_honoured() -> None:
    async with scripted('[[reply]]\ntext = "one two three four"') as server:
        assert await said(server, max_tokens=2) == "one two"
        assert await said(server, stop=["three"]) == "one two "
        assert await said(server, stop="w") == "one t"
        *_, last, _ = await events(server, PATH, CHAT | {"max_tokens": 1, "stream_options": {}})
    assert last["choices"][0]["finish_reason"] == "length"


GUARDED = 'api_key = "k"\nmodel = "m"\nknown_models_only = true\ncontext_window = 3'


@pytest.mark.parametrize(
    ("key", "changed", "status", "code"),
    [
        ("k", {}, 200, None),
        ("", {}, 401, "invalid_api_key"),
        ("k", {"model": "x"}, 404, "model_not_found"),
        ("k", {"messages": [{"role": "user", "content": "a b c d"}]}, 400, "context_length_exceeded"),
    ],
)  # fmt: skip
async def test_guarded_server_refuses(
    key: str, changed: dict[str, Any], status: int, code: str | None
) -> None:
    async with scripted(GUARDED) as server:
        answer = await post(server, PATH, CHAT | changed, Authorization=f"Bearer {key}")
        listed, _ = await get(server, "/v1/models", Authorization=f"Bearer {key}")
    assert answer[0] == status
    assert listed == (200 if key else 401)
    assert code is None or json.loads(answer[2])["error"]["code"] == code


@pytest.mark.parametrize(("dialect", "known"), [("tgi", True), ("openai", False)])
async def test_tgi_knows_its_model_by_the_name_that_it_always_has(
    dialect: str, *, known: bool
) -> None:
    async with scripted(f'{GUARDED}\ndialect = "{dialect}"') as server:
        _, _, text = await post(server, PATH, CHAT | {"model": "tgi"}, Authorization="Bearer k")
    assert ("does not exist" in text) != known


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/nothing", {}, 404),
        (PATH, [1], 400),
        (PATH, {"messages": 3}, 400),
        (PATH, {"messages": [3, {"content": [4]}], "stop": 5, "tools": [6]}, 200),
        ("/tokenize", 7, 400),
        ("/", {"inputs": "a"}, 200),
    ],
)
async def test_nonsense_is_answered(path: str, body: object, status: int) -> None:
    async with scripted() as server:
        assert (await post(server, path, body))[0] == status
        assert (await get(server, "/nothing"))[0] == 404


async def test_request_is_told_in_one_line() -> None:
    lines: list[str] = []
    server = ScriptedServer(parse_script('[[reply]]\nname = "first"\ntext = "a"'), lines.append)
    async with listening(server):
        await said(server, "secret words")
        await get(server, "/v1/models?key=secret")
    told = [re.sub(r"\d+ ms", "N ms", line) for line in lines]
    assert told == [
        "POST /v1/chat/completions 200 openai, reply 1 (first), N ms",
        "GET /v1/models 200 document, N ms",
    ]


async def test_pauses_hold_each_piece_back() -> None:
    script = '[[reply]]\ntext = "a b c"\npause_ms = 1\nfirst_pause_ms = 1\ntokens_per_second = 900'
    async with scripted(script) as server:
        assert await said(server) == "a b c"
        *chunks, _ = await events(server, PATH, CHAT)
    assert len(chunks) == 6
