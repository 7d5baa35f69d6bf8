"""Parley processes that several tests use, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.e2e.support import DEMO, asks, client_of, serving
from tests.fakes.model_server import ModelServer, Reply, model_server
from tests.server import ParleyProcess


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyProcess]:
    """A Parley that answers with the demo provider; its rows grow from test to test."""
    with ParleyProcess(tmp_path_factory.mktemp("demo"), DEMO) as parley:
        yield parley


@pytest.fixture
async def client(demo: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(demo) as client:
        yield client


@dataclass(frozen=True)
class Faked:
    """A Parley, and the fake model server that it asks."""

    parley: ParleyProcess
    server: ModelServer

    def will_reply(self, *replies: Reply) -> None:
        """Forget what was asked so far, and answer like this from now on."""
        self.server.replies[:] = replies
        self.server.requests.clear()
        self.server.asked, self.server.left = asyncio.Event(), asyncio.Event()


@pytest.fixture(scope="module")
async def faked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """One for a module; every test says first what the model server will reply."""
    async with (
        model_server() as server,
        serving(tmp_path_factory.mktemp("faked"), asks(server)) as parley,
    ):
        yield Faked(parley, server)


@pytest.fixture
async def faked_client(faked: Faked) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(faked.parley) as client:
        yield client
