"""The gate before Chainlit's routes: what it refuses, and what it tells a browser."""

import asyncio
from contextlib import ExitStack
from contextvars import copy_context
from uuid import uuid4

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message

from parley.chat.errors import InvalidRequest
from parley.chat.owner import current_address, current_owner
from parley.chat.turns import Owner
from parley.surfaces.http.bodies import read_body
from parley.surfaces.http.places import Places
from parley.surfaces.page.gate import Gate, GateConfig
from parley.surfaces.page.gate_socket import Wire
from parley.surfaces.page.packets import TextPacket
from tests.patience import PATIENCE_S


async def ask(app: ASGIApp, method: str, path: str) -> httpx2.Response:
    gate = Gate(app, config=GateConfig(body_limit_bytes=10))
    transport = httpx2.ASGITransport(app=gate)
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley") as client:
        return await client.request(
            method, path, content=b"12345678901" if method == "PUT" else b""
        )


async def test_page_may_load_from_its_own_host_only() -> None:
    policy = (await ask(HTMLResponse("<p>"), "GET", "/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "img-src 'self' data: blob: ;" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    assert policy.endswith("frame-ancestors "), "the rest is the same for all pages"


async def test_what_is_no_page_is_not_taken_for_one() -> None:
    headers = (await ask(PlainTextResponse("<p>"), "GET", "/public/a.txt")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in headers


@pytest.mark.parametrize("own", [{}, {"cache-control": "immutable"}])
async def test_a_script_whose_name_has_no_digest_is_asked_for_again(own: dict[str, str]) -> None:
    """After an update old and new ones would be mixed."""
    script = Response("x", media_type="text/javascript", headers=own)
    headers = (await ask(script, "GET", "/public/page.js")).headers
    assert headers["cache-control"] == own.get("cache-control", "no-cache")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 404),
        ("POST", "/auth/jwt", 404),
        ("GET", "/public/a%00b", 404),
        ("PUT", "/project/thread", 413),
    ],
)
async def test_nothing_of_this_reaches_chainlit(method: str, path: str, status: int) -> None:
    async def unreachable(_scope: object, _receive: object, _send: object) -> None:
        pytest.fail("the request came through")

    assert (await ask(unreachable, method, path)).status_code == status


async def test_body_that_does_not_come_is_refused() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(InvalidRequest, match="did not arrive"):
        await read_body(request, 10, within_s=0.01)


NO_PACKETS = {
    "an attachment is announced": '51-["client_message",{}]',
    "many are": '599999-["x",1]',
    "an attachment": b"\x00attached",
    "data that is no text": ["stop"],
    "no kind": "x",
    "an unknown kind": "9",
    "a server's kind": "4{}",
    "an event without a name": "2[]",
    "an event named by an object": "2[{}]",
    "an event of no list": "2{}",
    "an event that ends early": '2["stop"',
    "an event without anything": "2",
    "an id too long": "2" + "9" * 5000 + '["stop"]',
    "a strange id": '2²["stop"]',
    "nested deeply": '2["stop",' + "[" * 100_000,
}


@pytest.mark.parametrize("sent", NO_PACKETS.values(), ids=NO_PACKETS)
def test_what_is_no_packet_is_an_event_that_nobody_handles(sent: object) -> None:
    packet = TextPacket(encoded_packet=sent)
    assert (packet.packet_type, packet.data, packet.attachment_count) == (2, ["not understood"], 0)


@pytest.mark.parametrize("sent", ['2["stop"]', '27["stop"]', '2/,["stop"]'])
def test_text_packets_are_taken(sent: str) -> None:
    assert TextPacket(encoded_packet=sent).data == ["stop"]


SOMEBODY = Owner("6d1f8d2e-5a35-4b43-9f0e-0d7b1c1c2a11", "guest:somebody")


SOMEBODY_ELSE = Owner("7d1f8d2e-5a35-4b43-9f0e-0d7b1c1c2a11", "guest:else")


async def knock(gate: Gate, owner: Owner | None) -> list[str]:
    """Open a socket as this owner; gives what the gate answers itself."""
    answers: list[str] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        answers.append(message["type"])

    token = current_owner.set(owner)
    try:
        await gate({"type": "websocket", "path": "/ws/socket.io/"}, receive, send)
    finally:
        current_owner.reset(token)
    return answers


async def test_sockets_are_for_those_who_are_known_and_counted() -> None:
    leave, full = asyncio.Event(), asyncio.Barrier(3)

    async def stay(_scope: object, _receive: object, _send: object) -> None:
        await full.wait()
        await leave.wait()

    gate = Gate(stay, config=GateConfig(places=Places(2)))
    assert await knock(gate, None) == ["websocket.close"]
    async with asyncio.TaskGroup() as tasks:
        inside = [tasks.create_task(knock(gate, SOMEBODY)) for _ in range(2)]
        await full.wait()
        assert await knock(gate, SOMEBODY) == ["websocket.close"]
        leave.set()
    assert [task.result() for task in inside] == [[], []]


@pytest.mark.parametrize(
    ("identifier", "address", "are_full"),
    [
        ("guest:x", "192.0.2.7", True),
        ("guest:x", "192.0.2.8", False),
        ("guest:x", "127.0.0.1", False),
        ("guest:x", "", False),
        ("https://issuer.example|ada", "192.0.2.7", False),
    ],
)
def test_guests_of_one_address_cannot_have_all_sockets(
    identifier: str, address: str, *, are_full: bool
) -> None:
    places = Places(9, per_address=2)

    def look() -> None:
        with ExitStack() as stack:
            for known in ("192.0.2.7", "127.0.0.1", ""):
                current_address.set(known)
                for _ in range(2):
                    stack.enter_context(places.one(Owner(str(uuid4()), "guest:y")))
            current_address.set(address)
            assert places.are_full(Owner(str(uuid4()), identifier)) == are_full
        assert not places.are_full(Owner(str(uuid4()), identifier)), "they are free again"

    copy_context().run(look)


async def test_one_user_cannot_have_all_sockets() -> None:
    leave, full = asyncio.Event(), asyncio.Barrier(3)

    async def stay(_scope: object, _receive: object, _send: object) -> None:
        await full.wait()
        await leave.wait()

    gate = Gate(stay, config=GateConfig(places=Places(9, 2)))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(knock(gate, SOMEBODY))
        await full.wait()
        assert await knock(gate, SOMEBODY) == ["websocket.close"]
        leave.set()
        async with asyncio.timeout(PATIENCE_S):
            others = [tasks.create_task(knock(gate, SOMEBODY_ELSE)) for _ in range(2)]
            await full.wait()
    assert [task.result() for task in others] == [[], []]
    async with asyncio.timeout(PATIENCE_S):
        again = [asyncio.create_task(knock(gate, SOMEBODY)) for _ in range(2)]
        await full.wait()
        assert await asyncio.gather(*again) == [[], []]


class End:
    """The browser's end of a socket: says what it is told to, takes what it wants."""

    def __init__(self) -> None:
        self.takes = asyncio.Event()
        self.takes.set()
        self.says: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self.says.get()

    async def send(self, _message: Message) -> None:
        await self.takes.wait()


async def test_socket_that_does_not_connect_is_closed() -> None:
    end = End()
    silent = Wire(end.receive, end.send, connect_s=0.0)
    await silent.send({"type": "websocket.send", "text": '0{"sid":"x"}'})
    assert (await silent.receive())["type"] == "websocket.disconnect"
    connected = Wire(end.receive, end.send, connect_s=0.0)
    await connected.send({"type": "websocket.send", "text": '40{"sid":"x"}'})
    end.says.put_nowait({"type": "websocket.receive"})
    assert (await connected.receive())["type"] == "websocket.receive"


async def test_who_connects_meanwhile_may_be_silent() -> None:
    end = End()
    page = Wire(end.receive, end.send, connect_s=0.5)
    listening = asyncio.create_task(page.receive())
    await asyncio.sleep(0)
    await page.send({"type": "websocket.send", "text": '40{"sid":"x"}'})
    assert not (await asyncio.wait([listening], timeout=0.6))[0]
    end.says.put_nowait({"type": "websocket.receive"})
    assert (await listening)["type"] == "websocket.receive"


async def test_who_does_not_listen_is_not_listened_to() -> None:
    end = End()
    deaf = Wire(end.receive, end.send)
    end.says.put_nowait({"type": "websocket.receive"})
    end.takes.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deaf.send({"type": "websocket.send", "text": '40{"sid":"x"}'}))
        await asyncio.to_thread(lambda: None)
        listening = tasks.create_task(deaf.receive())
        await asyncio.to_thread(lambda: None)
        assert end.says.qsize() == 1
        end.takes.set()
    assert listening.done()
