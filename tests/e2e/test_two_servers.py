"""Two servers on one PostgreSQL, one Redis and one directory of files."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from parley.surfaces.account.revocation import CLOSE_CODE
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import asks, client_of
from tests.e2e.visit import Visit, visit
from tests.e2e.ws_client import next_event, say, socket_of
from tests.fakes.model_server import (
    DONE,
    ModelServer,
    answer,
    chunk,
    finish,
    model_server,
    sse,
    usage,
    wait,
)
from tests.identity_services import oidc_provider, sign_in_at
from tests.patience import PATIENCE_S, until
from tests.server import ParleyProcess
from tests.services import Postgres

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]


ROUNDS = 2


@dataclass(frozen=True)
class Two:
    """Two servers, the model server that they ask, and what of theirs is on the disk."""

    one: ParleyProcess
    other: ParleyProcess
    model: ModelServer


@pytest.fixture(scope="module")
async def two(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_of_session: str
) -> AsyncIterator[Two]:
    home = tmp_path_factory.mktemp("two")
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_server(sse(*answer("Hello."))))
        servers = [ParleyProcess(home / name) for name in ("one", "other")]
        url = f"http://localhost:{servers[0].port}"
        provider = stack.enter_context(oidc_provider([f"{url}/auth/oauth/generic/callback"]))
        settings = asks(model) | provider.settings()
        settings |= {
            "DATABASE_URL": stack.enter_context(postgres.database()),
            "REDIS_URL": redis_of_session,
            "REDIS_TIMEOUT_SECONDS": "10",
            "STORAGE_DIRECTORY": str(home / "files"),
            "PARLEY_SECRET": "s" * 40,
            "PUBLIC_URL": url,
            "ALLOW_GUESTS": "true",
        }
        for server in servers:
            server.environment |= settings
            await asyncio.to_thread(server.directory.mkdir)
            await asyncio.to_thread(server.start)
            stack.push_async_callback(asyncio.to_thread, server.stop)
        yield Two(servers[0], servers[1], model)


async def signed_in(two: Two, name: str) -> str:
    """Sign in on the first server; gives the Cookie header, which is good on both."""
    url = f"http://localhost:{two.one.port}"
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as browser:
        departed = await browser.get("/auth/oauth/generic")
        back = await sign_in_at(browser, departed.headers["location"], name)
        assert (await browser.get(back)).status_code == 303
        return f"parley_sign_in={browser.cookies['parley_sign_in']}"


@asynccontextmanager
async def holding(model: ModelServer) -> AsyncIterator[None]:
    """Have every answer stand still after its first word, until the end of the block."""
    goes_on, usual = asyncio.Event(), model.replies[:]
    model.replies[:] = [sse(chunk("Once"), wait(goes_on), finish(), usage(), DONE)]
    try:
        yield
    finally:
        goes_on.set()
        model.replies[:] = usual


async def test_who_signs_out_on_one_server_loses_everything_on_the_other(two: Two) -> None:
    """Sockets and streams whose answer is being written, and a client that never pauses."""
    there, here = await signed_in(two, "ann"), await signed_in(two, "ann")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(holding(two.model))
        client = await stack.enter_async_context(client_of(two.other))
        client.headers["cookie"] = there
        page = await stack.enter_async_context(page_socket(two.other, there))
        socket = await stack.enter_async_context(socket_of(two.other, cookie=there))
        await page.emit("connection_successful")
        await page.say("hi")
        await until(lambda: "Once" in str(page.received))
        await say(socket, "hi")
        while (await next_event(socket))["type"] != "text":
            pass
        body = {"session_id": uuid4().hex, "message": "hi", "format": "events"}
        stream = await stack.enter_async_context(client.stream("POST", "/chat", json=body))
        pieces = stream.aiter_bytes()
        while b"Once" not in await anext(pieces):
            pass
        busy = asyncio.create_task(until_nobody(client))
        await sign_out_everywhere(two.one, here)
        async with asyncio.timeout(PATIENCE_S):
            await page.until_closed()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
                await anext(pieces)
            await busy
        assert page.all("reload") == [None]
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CLOSE_CODE
        with pytest.raises(ConnectionError):
            await stack.enter_async_context(page_socket(two.other, there))


async def sign_out_everywhere(parley: ParleyProcess, cookie: str) -> None:
    async with client_of(parley) as client:
        gone = await client.post("/account/sign-out-everywhere", headers={"cookie": cookie})
    assert gone.status_code == 303


async def until_nobody(client: httpx2.AsyncClient) -> None:
    """Ask again and again, without a pause, until one is nobody."""
    while (await client.get("/api/v1/me")).status_code != 401:
        pass


async def deleted(visited: Visit, element: Mapping[str, str]) -> None:
    body = {"threadId": element["threadId"]}
    gone = await visited.client.request("DELETE", "/project/thread", json=body)
    assert gone.status_code == 200


async def test_bytes_stay_while_either_server_has_a_use_for_them(two: Two) -> None:
    files = two.one.directory.parent / "files"
    cookie = await new_guest(two.one)
    for number in range(ROUNDS):
        content = b"the same for both %d" % number
        async with visit(two.one, cookie) as one, visit(two.other, cookie) as other:
            first = await one.attached(content)
            await one.socket.next("task_end")
            assert (await other.client.get(first["url"])).content == content
            # One server deletes the only thread that has the bytes; the other keeps them anew.
            _, second = await asyncio.gather(deleted(one, first), other.attached(content))
            await other.socket.next("task_end")
            for visited in (one, other):
                assert (await visited.client.get(first["url"])).status_code == 404
                assert (await visited.client.get(second["url"])).content == content
            await deleted(one, second)
            assert (await other.client.get(second["url"])).status_code == 404
    await until(lambda: not [*files.glob("*-*/??/*")])
