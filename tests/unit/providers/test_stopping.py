"""Leaving a stream closes its socket, on every path; finishing one gives the connection back."""

import asyncio

import pytest

from parley.chat.deltas import Text
from tests.fakes.model_server import (
    DONE,
    Reply,
    Step,
    answer,
    chunk,
    drip,
    finish,
    hang,
    raw,
    sse,
    wait,
)
from tests.patience import PATIENCE_S
from tests.unit.providers.support import REQUEST, outcome_of, served


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that Parley is served on: they close and break sockets in different ways."""
    return "asyncio", {"use_uvloop": request.param}


async def test_break_closes_the_socket() -> None:
    async with served(sse(chunk("a"), hang)) as (provider, server):
        async with provider.stream(REQUEST) as stream:
            async for _ in stream:
                break
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()


async def test_flooding_server_is_left_at_once() -> None:
    async with served(sse(drip(chunk("a") * 100, every_s=0))) as (provider, server):
        async with provider.stream(REQUEST) as stream:
            assert await anext(stream) == Text("a")
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()


@pytest.mark.parametrize("reply", [raw(hang), sse(hang), sse(chunk("a"), hang)])
async def test_cancel_while_reading_closes_the_socket(reply: Reply) -> None:
    async with served(reply) as (provider, server):
        reading = asyncio.create_task(outcome_of(provider))
        await server.asked.wait()
        reading.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_cancel_of_a_busy_consumer_closes_the_socket() -> None:
    busy = asyncio.Event()

    async def consume() -> None:
        async with provider.stream(REQUEST) as stream:
            async for _ in stream:
                busy.set()
                await asyncio.Event().wait()

    async with served(sse(chunk("a"), chunk("b"), hang)) as (provider, server):
        consuming = asyncio.create_task(consume())
        await busy.wait()
        consuming.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()
        await asyncio.gather(consuming, return_exceptions=True)


async def test_error_of_the_consumer_closes_the_socket() -> None:
    async def fail() -> None:
        async with provider.stream(REQUEST) as stream:
            await anext(stream)
            raise ZeroDivisionError

    async with served(sse(chunk("a"), hang)) as (provider, server):
        with pytest.raises(ZeroDivisionError):
            await fail()
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()


async def test_250_streams_use_one_connection() -> None:
    async with served(sse(*answer("a", "b"))) as (provider, server):
        for _ in range(250):
            assert (await outcome_of(provider)).text == "ab"
    assert (len(server.requests), server.connections) == (250, 1)


async def test_late_end_of_body_is_waited_for() -> None:
    """The end of the body comes after [DONE], in a packet of its own."""
    gate = asyncio.Event()
    async with served(sse(*answer("a"), wait(gate))) as (provider, server):
        for _ in range(2):
            async with provider.stream(REQUEST) as stream:
                assert [type(delta).__name__ async for delta in stream][-1] == "Finish"
                gate.set()
    assert server.connections == 1


@pytest.mark.parametrize(
    "held",
    [hang, drip(), drip(b": " + b"x" * 10_000 + b"\n", every_s=0)],
    ids=["silent", "keepalives", "flood"],
)
async def test_server_that_goes_on_after_done_is_left(held: Step) -> None:
    async with served(sse(chunk("a"), finish(), DONE, held)) as (provider, server):
        assert (await outcome_of(provider)).error is None
        async with asyncio.timeout(PATIENCE_S):
            await server.left.wait()


async def test_streams_run_side_by_side() -> None:
    together = asyncio.Barrier(3)
    async with served(sse(chunk("a"), wait(together), *answer("b"))) as (provider, server):
        outcomes = await asyncio.gather(*(outcome_of(provider) for _ in range(3)))
    assert [outcome.text for outcome in outcomes] == ["ab"] * 3
    assert server.connections == 3
