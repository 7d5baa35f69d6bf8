"""Two servers on one PostgreSQL and one directory of files."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.page_socket import new_guest
from tests.e2e.support import asks, serving
from tests.e2e.visit import Visit, visit
from tests.fakes.model_server import answer, model_server, sse
from tests.server import ParleyProcess

pytestmark = pytest.mark.needs_postgres


ROUNDS = 2


@pytest.fixture
async def two(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> AsyncIterator[list[ParleyProcess]]:
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_server())
        model.replies[:] = [sse(*answer("Hello."))]
        settings = asks(model) | {
            "DATABASE_URL": postgres_url,
            "REDIS_URL": redis_url,
            "STORAGE_DIRECTORY": str(tmp_path / "files"),
            "PARLEY_SECRET": "s" * 40,
        }
        servers = []
        for name in ("one", "two"):
            await asyncio.to_thread((tmp_path / name).mkdir)
            servers.append(await stack.enter_async_context(serving(tmp_path / name, settings)))
        yield servers


async def deleted(visited: Visit, element: Mapping[str, str]) -> None:
    body = {"threadId": element["threadId"]}
    gone = await visited.client.request("DELETE", "/project/thread", json=body)
    assert gone.status_code == 200


async def test_bytes_stay_while_either_server_has_a_use_for_them(
    tmp_path: Path, two: list[ParleyProcess]
) -> None:
    cookie = await new_guest(two[0])
    for number in range(ROUNDS):
        content = b"the same for both %d" % number
        async with visit(two[0], cookie) as one, visit(two[1], cookie) as other:
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
    assert await asyncio.to_thread(lambda: [*(tmp_path / "files").glob("*-*/??/*")]) == []
