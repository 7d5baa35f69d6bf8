"""Limits as clients meet them: 429 with Retry-After, in each surface's own shape."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import asks, client_of, serving
from tests.fakes.model_server import (
    DONE,
    answer,
    chunk,
    finish,
    model_server,
    sse,
    tell,
    usage,
    wait,
)
from tests.patience import eventually, until

LIMITS = {
    "LIMIT_GUEST_REQUESTS_PER_MINUTE": "20",
    "LIMIT_GUEST_TURNS_PER_MINUTE": "3",
    "LIMIT_GUEST_RUNNING_TURNS": "2",
    "LIMIT_GUEST_TOKENS_PER_DAY": "3000",
    "MAX_HISTORY_TOKENS": "100",
    "MAX_TOKENS": "100",
    "MODEL_TITLES": "false",
}


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    async with (
        model_server() as server,
        serving(tmp_path_factory.mktemp("strict"), asks(server) | LIMITS) as parley,
    ):
        yield Faked(parley, server)


@pytest.fixture
async def guest(strict: Faked) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who has used nothing yet."""
    strict.will_reply(sse(*answer("Hello.")))
    async with client_of(strict.parley) as client:
        await client.get("/", headers={"accept": "text/html"})
        yield client


async def by_chat(client: httpx2.AsyncClient) -> httpx2.Request:
    return client.build_request("POST", "/chat", json={"session_id": uuid4().hex, "message": "hi"})


async def by_stateless(client: httpx2.AsyncClient) -> httpx2.Request:
    return client.build_request("POST", "/api/v1/chat", json={"message": "hi"})


async def by_openai(client: httpx2.AsyncClient) -> httpx2.Request:
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "openai:fake", "messages": said, "stream": True}
    return client.build_request("POST", "/v1/chat/completions", json=body)


async def by_conversation(client: httpx2.AsyncClient) -> httpx2.Request:
    made = await client.post("/api/v1/conversations", json={})
    where = f"{made.headers['location']}/messages"
    return client.build_request("POST", where, json={"message": "hi"})


Door = Callable[[httpx2.AsyncClient], Awaitable[httpx2.Request]]
DOORS = pytest.mark.parametrize("door", [by_chat, by_stateless, by_openai, by_conversation])


def refused(response: httpx2.Response, message: str, within_s: int) -> None:
    assert response.status_code == 429, response.text
    assert re.fullmatch(r"[1-9]\d*", response.headers["retry-after"])
    assert int(response.headers["retry-after"]) <= within_s
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == "rate_limited"
    assert message in error["message"]


@DOORS
async def test_turns_a_minute(guest: httpx2.AsyncClient, door: Door) -> None:
    for _ in range(3):
        assert (await guest.send(await door(guest))).status_code == 200
    refused(await guest.send(await door(guest)), "3 times in a minute", 60)


@DOORS
async def test_running_turns(strict: Faked, guest: httpx2.AsyncClient, door: Door) -> None:
    goes_on, begun = asyncio.Event(), [asyncio.Event(), asyncio.Event()]
    strict.will_reply(*(sse(chunk("Once"), tell(b), wait(goes_on), *answer(".")) for b in begun))
    streams: list[httpx2.Response] = []
    async with AsyncExitStack() as stack:
        for number in range(2):
            held = await stack.enter_async_context(_streaming(guest, await door(guest)))
            assert held.status_code == 200
            await until(begun[number].is_set)
            streams.append(held)
        refused(await guest.send(await door(guest)), "2 answers being written or waiting", 60)
        goes_on.set()
        for held in streams:  # to their end: a guest has few requests to look for it with
            await held.aread()
    strict.will_reply(sse(*answer("Hello.")))

    async def is_let_in() -> bool:
        return (await guest.send(await door(guest))).status_code == 200

    await eventually(is_let_in)  # settled a moment later


@asynccontextmanager
async def _streaming(
    client: httpx2.AsyncClient, request: httpx2.Request
) -> AsyncIterator[httpx2.Response]:
    """Send a request, and leave its answer unread."""
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


@DOORS
async def test_tokens_a_day(strict: Faked, guest: httpx2.AsyncClient, door: Door) -> None:
    strict.will_reply(sse(chunk("Hello."), finish(), usage(2900, 50), DONE))
    day = today()
    assert (await guest.send(await door(guest))).status_code == 200
    response = await guest.send(await door(guest))
    if response.status_code == 200 and today() != day:  # what was used before midnight is forgotten
        response = await guest.send(await door(guest))
    refused(response, "too few tokens left today, of 3000", 86_400)


def today() -> date:
    return datetime.now(UTC).date()


async def test_what_is_kept_counts_by_its_size(guest: httpx2.AsyncClient) -> None:
    large = {"metadata": {"a": "x" * 800_000}}
    first = await guest.post("/api/v1/conversations", json=large)
    second = await guest.post("/api/v1/conversations", json=large)
    assert first.status_code == 201
    refused(second, "20 times in a minute", 60)


async def test_requests_a_minute(guest: httpx2.AsyncClient) -> None:
    """Of whatever kind; the probes and the files of the page are not counted."""
    for _ in range(19):  # the page was one
        assert (await guest.get("/api/v1/conversations")).status_code == 200
    refused(await guest.get("/api/v1/conversations"), "20 times in a minute", 60)
    refused(await guest.send(await by_openai(guest)), "20 times in a minute", 60)
    assert (await guest.get("/public/account.css")).status_code == 200
    assert (await guest.get("/livez")).status_code == 200


async def test_what_a_page_says_in_its_socket_is_counted(strict: Faked) -> None:
    async with page_socket(strict.parley, await new_guest(strict.parley)) as socket:
        for count in range(1, 19):  # the page was one, and the socket itself
            await socket.emit("fetch_favorites")
            await socket.next("set_favorites", count)
        said = await socket.say("too much")
        assert "20 times in a minute" in await socket.next_error()
        assert (await socket.next("taken"))["id"] == said
        for _ in range(30):
            await socket.emit("fetch_favorites")
        await socket.until_closed()
    assert len(socket.errors()) < 30
