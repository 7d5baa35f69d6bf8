"""Revocation: a connection ends when its caller's sign-in or key does, whatever it is doing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.auth.principal import Kind, Principal
from parley.chat.identities import SignIns
from parley.chat.turns import Owner
from parley.surfaces.account.revocation import CLOSE_CODE, Revocations, leave_with
from tests.patience import PATIENCE_S

OWNER = Owner("6d1f8d2e-5a35-4b43-9f0e-0d7b1c1c2a11", "https://op.example|ann")
ANN = Principal(OWNER, Kind.USER, sign_in_id="ann's")
CLOSED = {"type": "websocket.close", "code": CLOSE_CODE}


class Wire:
    """A server's end: what the client says, what it was sent, and whether it takes anything."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.said: asyncio.Queue[Message] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()

    async def receive(self) -> Message:
        return await self.said.get()

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        self.sent.append(message)


@asynccontextmanager
async def served(
    app: ASGIApp,
    wire: Wire,
    revocations: Revocations,
    kind: str = "websocket",
    principal: Principal | None = ANN,
) -> AsyncIterator["asyncio.Task[None]"]:
    """Serve one connection beside the block, which must have ended it at its end."""
    scope: Scope = {"type": kind, "headers": []}
    task = asyncio.create_task(revocations.run(app, scope, wire.receive, wire.send, principal))
    await asyncio.sleep(0)
    try:
        yield task
        async with asyncio.timeout(PATIENCE_S):
            await task
    finally:
        task.cancel()


async def listen(_: Scope, receive: Receive, send: Send) -> None:
    """Accept, and hear what is said until the client is gone."""
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_who_listens_hears_that_the_client_is_gone() -> None:
    wire, revocations = Wire(), Revocations()
    async with served(listen, wire, revocations):
        revocations.end(["ann's"])
    assert wire.sent == [{"type": "websocket.accept"}, CLOSED]


async def test_who_does_not_listen_yet_hears_it_when_they_do() -> None:
    """As Engine.IO, which does not listen while it is busy with what it heard."""
    wire, revocations, busy = Wire(), Revocations(), asyncio.Event()

    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await busy.wait()
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.send", "text": "too late"})
        await send({"type": "websocket.close"})

    async with served(works, wire, revocations):
        revocations.end(["ann's"])
        busy.set()
    assert wire.sent == [{"type": "websocket.accept"}, CLOSED]


async def test_who_never_listens_is_closed_when_they_end() -> None:
    wire, revocations, busy = Wire(), Revocations(), asyncio.Event()

    async def speaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await busy.wait()

    async with served(speaks, wire, revocations):
        revocations.end(["ann's"])
        busy.set()
    assert wire.sent == [{"type": "websocket.accept"}, CLOSED]


async def test_a_client_that_takes_nothing_does_not_hold_the_connection() -> None:
    """A frame that waits for such a client is dropped, and the goodbye waited for shortly."""
    wire, revocations, sending = Wire(), Revocations(), asyncio.Event()

    async def floods(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        wire.takes.clear()
        sending.set()
        await send({"type": "websocket.send", "text": "hers alone"})
        assert (await receive())["type"] == "websocket.disconnect"

    async with served(floods, wire, revocations):
        await sending.wait()
        revocations.end(["ann's"])
    wire.takes.set()
    assert wire.sent == [{"type": "websocket.accept"}]


async def test_a_socket_leaves_with_its_last_words() -> None:
    wire, revocations = Wire(), Revocations()

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        leave_with(scope, "load anew")
        await listen(scope, receive, send)

    async with served(page, wire, revocations):
        revocations.end(["ann's"])
    assert wire.sent[1:] == [{"type": "websocket.send", "text": "load anew"}, CLOSED]


async def test_a_socket_that_is_not_accepted_is_refused_without_a_word() -> None:
    wire, revocations = Wire(), Revocations()

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        leave_with(scope, "load anew")
        await receive()

    async with served(page, wire, revocations):
        revocations.end(["ann's"])
    assert wire.sent == [CLOSED]


async def test_a_socket_that_its_app_closed_is_not_closed_twice() -> None:
    wire, revocations, closed = Wire(), Revocations(), asyncio.Event()

    async def closes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        closed.set()
        await receive()

    async with served(closes, wire, revocations):
        await closed.wait()
        revocations.end(["ann's"])
    assert [message["type"] for message in wire.sent].count("websocket.close") == 1


async def test_ending_it_again_changes_nothing() -> None:
    """Two browsers sign out everywhere at the same moment."""
    wire, revocations = Wire(), Revocations()
    async with served(listen, wire, revocations):
        revocations.end(["ann's", "ann's"])
        await asyncio.sleep(0)
        revocations.end(["ann's"])
    assert wire.sent.count(CLOSED) == 1
    revocations.end(["ann's"])


async def test_a_client_that_left_before_is_no_failure() -> None:
    wire, revocations = Wire(), Revocations()

    async def gone(message: Message) -> None:
        if message["type"] == "websocket.close":
            raise OSError("gone")

    task = asyncio.create_task(
        revocations.run(listen, {"type": "websocket", "headers": []}, wire.receive, gone, ANN)
    )
    await asyncio.sleep(0)
    revocations.end(["ann's"])
    await task


async def test_a_stream_breaks_off_and_does_not_look_complete() -> None:
    wire, revocations, streaming = Wire(), Revocations(), asyncio.Event()

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"Once ", "more_body": True})
        streaming.set()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"upon", "more_body": True})

    async with served(streams, wire, revocations, "http"):
        await streaming.wait()
        revocations.end(["ann's"])
    assert [message.get("body") for message in wire.sent] == [None, b"Once "]


async def test_whoever_signs_out_gets_their_answer() -> None:
    wire, revocations = Wire(), Revocations()

    async def signs_out(scope: Scope, receive: Receive, send: Send) -> None:
        revocations.end(["ann's"])
        await send({"type": "http.response.start", "status": 303})
        await send({"type": "http.response.body", "body": b"gone"})

    async with served(signs_out, wire, revocations, "http"):
        pass
    assert [message["type"] for message in wire.sent] == [
        "http.response.start",
        "http.response.body",
    ]


@pytest.mark.parametrize(
    "other",
    [
        None,
        Principal(OWNER, Kind.GUEST),
        Principal(OWNER, Kind.USER, sign_in_id="her other one"),
        Principal(OWNER, Kind.USER, key_id="a key"),
    ],
)
async def test_nobody_elses_connection_is_cut(other: Principal | None) -> None:
    wire, revocations = Wire(), Revocations()
    async with served(listen, wire, revocations, principal=other):
        revocations.end(["ann's"])
        await wire.said.put({"type": "websocket.receive", "text": "still here"})
        await wire.said.put({"type": "websocket.disconnect"})
    assert wire.sent == [{"type": "websocket.accept"}]


async def test_what_is_over_is_forgotten() -> None:
    wire, revocations = Wire(), Revocations()
    await wire.said.put({"type": "websocket.disconnect"})
    async with served(listen, wire, revocations):
        pass
    assert not revocations.credentials


@pytest.mark.parametrize("lines", [2, 50])
async def test_every_connection_of_a_sign_in_ends(lines: int) -> None:
    wires, revocations = [Wire() for _ in range(lines)], Revocations()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        for wire in wires:
            scope = {"type": "websocket", "headers": []}
            tasks.create_task(revocations.run(listen, scope, wire.receive, wire.send, ANN))
        await asyncio.sleep(0)
        revocations.end(["ann's"])
    assert all(wire.sent[-1] == CLOSED for wire in wires)


class Nobody:
    """A store in which nothing is ever over."""

    async def over(self, *_: object) -> set[str]:
        return set()


@pytest.mark.parametrize(
    ("said", "is_use"), [('42["client_message",{}]', True), ("3", False), ("2", False)]
)
async def test_what_is_said_on_a_socket_is_a_use_and_what_keeps_it_open_is_not(
    said: str, is_use: bool
) -> None:
    """Else who chats all day on one socket would be signed out in the evening."""
    wire, revocations, renewed = Wire(), Revocations(renewed_every_s=0), asyncio.Event()

    async def renew(_: HTTPConnection) -> None:
        renewed.set()

    revocations.renew = renew
    async with served(listen, wire, revocations):
        watch = asyncio.create_task(revocations.watch(cast(SignIns, Nobody()), every_s=0.001))
        await wire.said.put({"type": "websocket.receive", "text": said})
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S if is_use else 0.05):
                await renewed.wait()
        assert renewed.is_set() is is_use
        watch.cancel()
        await wire.said.put({"type": "websocket.disconnect"})
