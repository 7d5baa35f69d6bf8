"""The network between a browser and Parley, as a test may cut and mend it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from tests.server import ParleyProcess
from tests.services import find_free_port


class Line:
    """Carries bytes to a port of this machine, until it is cut."""

    def __init__(self, to_port: int) -> None:
        self.port, self._to_port = find_free_port(), to_port
        self.url = f"http://127.0.0.1:{self.port}"
        # Whether what is sent there, or back, is lost while nobody is told.
        self.loses_there = self.loses_back = False
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        """Let connections through again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """End all connections, and refuse new ones."""
        if self._server:
            self._server.close()
            self._server = None
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(self._carry(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()  # as far as its caller can see, the line ends here
            return
        try:
            await asyncio.gather(
                pump(reader, back, lambda: self.loses_there),
                pump(there, writer, lambda: self.loses_back),
            )
        finally:
            back.close()
            writer.close()


async def pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    loses: Callable[[], bool] = lambda: False,
) -> None:
    """Carry bytes until one end is closed, then close the other."""
    with suppress(OSError):
        while data := await reader.read(65536):
            if not loses():
                writer.write(data)
                await writer.drain()
    writer.close()


def line_to(parley: ParleyProcess) -> AbstractAsyncContextManager[Line]:
    """Make a line to a Parley, whole at first."""
    return line_to_port(parley.port)


@asynccontextmanager
async def line_to_port(port: int) -> AsyncIterator[Line]:
    """Make a line to a port of this machine, whole at first."""
    line = Line(port)
    await line.mend()
    try:
        yield line
    finally:
        await line.cut()
