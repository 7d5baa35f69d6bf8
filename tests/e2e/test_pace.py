"""TIME_BETWEEN_CHUNKS: through every door each chunk of the model is its own, and comes in its time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from time import monotonic
from typing import Any

import pytest

from tests.e2e.conftest import Faked
from tests.e2e.doors import Talk
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.resumable import new_conversation
from tests.e2e.support import asks, client_of, serving
from tests.e2e.ws_client import next_event, socket_of
from tests.fakes.model_server import DONE, chunk, finish, model_server, sse, usage

PACE_S = 0.15
WORDS = ["alpha ", "beta ", "gamma ", "delta "]
USER = [{"role": "user", "content": "hi"}]
# When each of the words came.
Came = list[float]


@pytest.fixture(scope="module")
async def paced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley that takes its time, and a model that says all it has to say at once."""
    async with model_server(sse(*map(chunk, WORDS), finish(), usage(), DONE)) as server:
        settings = asks(server) | {"TIME_BETWEEN_CHUNKS": str(PACE_S)}
        async with serving(tmp_path_factory.mktemp("paced"), settings) as parley:
            yield Faked(parley, server)


async def by_http(talk: Talk, path: str, body: object, **headers: str) -> Came:
    came: Came = []
    async with talk.client.stream("POST", path, json=body, headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            found = [word for word in WORDS if word in line]
            if found and "context_update" not in line:
                assert found == [WORDS[len(came)]], "one chunk is one event"
                came.append(monotonic())
    return came


async def chat(talk: Talk) -> Came:
    return await by_http(talk, "/chat", {"session_id": "a", "message": "hi"})


async def chat_events(talk: Talk) -> Came:
    body = {"session_id": "b", "message": "hi", "format": "events"}
    return await by_http(talk, "/chat", body)


async def stateless(talk: Talk) -> Came:
    return await by_http(talk, "/api/v1/chat", {"message": "hi", "events": "all"})


async def conversations(talk: Talk) -> Came:
    id = await new_conversation(talk.client)
    return await by_http(talk, f"/api/v1/conversations/{id}/messages", {"message": "hi"})


async def openai(talk: Talk) -> Came:
    asked = {"model": "openai:fake", "messages": USER, "stream": True}
    return await by_http(talk, "/v1/chat/completions", asked)


async def by_socket(talk: Talk, frame: dict[str, str], field: str) -> Came:
    came: Came = []
    async with socket_of(talk.parley, Cookie=talk.cookie) as socket:
        await socket.send(json.dumps(frame))
        while len(came) < len(WORDS):
            event = await next_event(socket)
            if event.get(field) == WORDS[len(came)]:
                came.append(monotonic())
    return came


async def websocket(talk: Talk) -> Came:
    return await by_socket(talk, {"type": "message", "message": "hi"}, "content")


async def older_websocket(talk: Talk) -> Came:
    return await by_socket(talk, {"id": "1", "text": "hi"}, "text")


async def page(talk: Talk) -> Came:
    came: Came = []
    async with page_socket(talk.parley, talk.cookie) as socket:
        await socket.say("hi")
        for number in range(1, len(WORDS)):
            token = await socket.next("stream_token", number)
            assert token["token"] == WORDS[number]
            came.append(monotonic())
    return came


DOORS: list[Callable[[Talk], Coroutine[Any, Any, Came]]] = [
    *(chat, chat_events, stateless, conversations, openai),
    *(websocket, older_websocket, page),
]


async def test_every_door_keeps_the_pace(paced: Faked) -> None:
    """A busy machine makes words late, and none of them early."""

    async def at(door: Callable[[Talk], Coroutine[Any, Any, Came]]) -> tuple[float, Came]:
        cookie = await new_guest(paced.parley)
        async with client_of(paced.parley) as client:
            client.headers["cookie"] = cookie
            return monotonic(), await door(Talk(paced.parley, client, cookie))

    for door, (began, came) in zip(DOORS, await asyncio.gather(*map(at, DOORS)), strict=True):
        # The page's first word comes with the message that the others are added to.
        first = int(door is page)
        assert len(came) == len(WORDS) - first, door.__name__
        for number, at_s in enumerate(came, first):
            assert at_s - began >= PACE_S * number, (door.__name__, number)


async def test_an_answer_that_comes_whole_comes_when_its_last_chunk_would(paced: Faked) -> None:
    cookie = await new_guest(paced.parley)
    async with socket_of(paced.parley, "/ws?format=text", Cookie=cookie) as socket:
        began = monotonic()
        await socket.send("hi")
        assert await socket.recv() == "".join(WORDS)
    assert monotonic() - began >= PACE_S * (len(WORDS) - 1)
