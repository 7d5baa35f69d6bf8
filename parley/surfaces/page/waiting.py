"""Waiting: how much of the disk files may take that no message has named yet.

Who takes a file back in the page tells nobody, so there is a limit to what an owner leaves here.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user import PersistedUser

from parley.chat.errors import StorageUnavailable, TooLarge
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_MEGABYTE = 1_000_000
_SWEEP_S = 300.0


def check_share(owner_id: str, size: int, limit_bytes: int) -> None:
    """Raise `TooLarge` unless the owner may have so much more waiting, over all sessions."""
    waiting = sum(
        file["size"] for session in _sessions_of(owner_id) for file in session.files.values()
    )
    if waiting + size > limit_bytes:
        raise TooLarge(
            f"Your files that wait for a message would take more than"
            f" {limit_bytes // _MEGABYTE} MB. Send a message with those that wait,"
            " or begin a new chat: that forgets them."
        )


async def check_disk(directory: Path, size: int, least_free_bytes: int) -> None:
    """Raise `StorageUnavailable` unless the disk has room for the file, and for all else."""
    free = await asyncio.to_thread(_free_bytes, directory)
    if free - size < least_free_bytes:
        logger.error("The disk is nearly full; files are refused", free_bytes=free)
        raise StorageUnavailable(
            "There is no room for files at the moment. Messages without files work."
        )


@asynccontextmanager
async def waiting_files(
    sweep: Callable[[], Awaitable[None]], every_s: float = _SWEEP_S
) -> AsyncIterator[None]:
    """Have what a crash left swept away while this serves, and at its end what waits here.

    Nobody can send a file that waited in a process which has stopped.
    """
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(_sweep_again(sweep, every_s))
        try:
            yield
        finally:
            sweeping.cancel()
            await _remove_waiting()


async def _sweep_again(sweep: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await sweep()


async def _remove_waiting() -> None:
    for session in list(ws_sessions_id.values()):
        session.files.clear()
        await asyncio.to_thread(shutil.rmtree, session.files_dir, ignore_errors=True)


def _sessions_of(owner_id: str) -> list[WebsocketSession]:
    return [
        session
        for session in ws_sessions_id.values()
        if isinstance(session.user, PersistedUser) and session.user.id == owner_id
    ]


def _free_bytes(directory: Path) -> int:
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
