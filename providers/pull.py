"""Pull: fetching a GGUF from the Hub, for somebody who said yes to it.

Gives progress, goes on where an earlier one stopped, checks the checksum, and puts the file into
huggingface_hub's own cache, where it appears when it is complete. huggingface_hub's download (2.4)
forgets what an interrupted one has got, and does not check; hub.py asks by its client.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
import filelock
from huggingface_hub import hf_hub_url

from parley.chat.errors import (
    BrokenStream,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    TooLarge,
    Unreachable,
)
from parley.observability.logs import get_logger
from providers.hub import ASK_S, Offer, hub_error, megabytes, refused

logger = get_logger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=ASK_S, sock_read=30.0)
_PIECE_BYTES = 1024 * 1024
_WAIT_S = 0.2
# Before each try in a row that brings nothing new; then it is given up.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is."""

    done_bytes: int
    total_bytes: int


async def pull(offer: Offer, pauses_s: Sequence[float] = _PAUSES_S) -> AsyncGenerator[Progress]:
    """Fetch what was offered; the last progress is given once the file is in its place.

    A download that breaks off goes on after a pause, as long as each try brings more. Leaving or
    cancelling keeps what has come, and the next pull goes on from there, without a byte twice.
    Several at once, in any processes, are one download: the others wait and show its progress.
    Raises `ProviderError`, and `TooLarge` where there is no room.
    """
    with _disk(offer):
        offer.blob.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{offer.part}.lock", thread_local=False)
    while not _acquired(lock):
        yield Progress(offer.done_bytes, offer.size_bytes)
        await asyncio.sleep(_WAIT_S)
    with ExitStack() as held:
        held.callback(lock.release)
        async with aclosing(_fetch(offer, pauses_s)) as sizes:
            async for size_bytes in sizes:
                yield Progress(size_bytes, offer.size_bytes)
        with _disk(offer):
            await asyncio.to_thread(_put_in_place, offer)
    yield Progress(offer.size_bytes, offer.size_bytes)


def _acquired(lock: filelock.BaseFileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return False
    return True


async def _fetch(offer: Offer, pauses_s: Sequence[float]) -> AsyncGenerator[int]:
    """Complete the blob, giving the bytes that are there."""
    if offer.blob.is_file():
        return
    with _disk(offer):
        await asyncio.to_thread(_check_room, offer)
        part = await asyncio.to_thread(_Part, offer.part)
    with closing(part):
        if part.size_bytes > offer.size_bytes:
            part.empty()
        async with aclosing(_download(offer, part, pauses_s)) as sizes:
            async for size_bytes in sizes:
                yield size_bytes
    if part.digest() != offer.sha256:
        raise _spoiled(offer)
    offer.part.replace(offer.blob)


def _spoiled(offer: Offer) -> ProviderError:
    """Delete what came, which is not the file."""
    offer.part.unlink()
    return hub_error(
        ProtocolViolation,
        f"sent {offer.reference} with another checksum than it names. What came was deleted:"
        " pull it again.",
    )


async def _download(offer: Offer, part: "_Part", pauses_s: Sequence[float]) -> AsyncGenerator[int]:
    """Fetch what is missing, in as many stretches as it takes."""
    tries = _Tries(part, pauses_s)
    while part.size_bytes < offer.size_bytes:
        async with aclosing(_stretch(offer, part, tries)) as sizes:
            async for size_bytes in sizes:
                yield size_bytes


async def _stretch(offer: Offer, part: "_Part", tries: "_Tries") -> AsyncGenerator[int]:
    """Fetch until it breaks off, and wait until the next try."""
    try:
        async with _answer(offer, part) as response:
            if response.status == 200:
                part.empty()
            async for piece in response.content.iter_chunked(_PIECE_BYTES):
                await _write(offer, part, piece)
                yield part.size_bytes
        if part.size_bytes < offer.size_bytes:
            raise _interrupted(offer, part)
    except ProviderError as error:
        await tries.wait(error)


async def _write(offer: Offer, part: "_Part", piece: bytes) -> None:
    with _disk(offer):
        await asyncio.to_thread(part.write, piece)
    if part.size_bytes > offer.size_bytes:
        raise _spoiled(offer)  # it might never end


class _Tries:
    """The tries to fetch a file: they go on as long as each brings more than any before."""

    def __init__(self, part: "_Part", pauses_s: Sequence[float]) -> None:
        """Begin with what there is of the file; `pauses_s` are waited after tries in vain."""
        self._part = part
        self._pauses_s = pauses_s
        self._furthest = part.size_bytes
        self._in_vain = 0
        self._has_begun = False

    async def wait(self, error: ProviderError) -> None:
        """Wait until the next try; raises what ended the last one where there is to be none."""
        if self._part.size_bytes > self._furthest:
            self._furthest, self._in_vain, self._has_begun = self._part.size_bytes, 0, True
        if self._in_vain == len(self._pauses_s) or not self._passes(error):
            raise error
        pause_s = self._pauses_s[self._in_vain]
        self._in_vain += 1
        happened = error.message.partition(". ")[0]  # what there is to do is done here
        logger.warning("Download broke off; it goes on", in_seconds=pause_s, reason=happened)
        await asyncio.sleep(pause_s)

    def _passes(self, error: ProviderError) -> bool:
        """Whether it may pass: what fails from the start may be wrong, and is said at once."""
        outage = Unreachable | ProviderFault
        return isinstance(error, BrokenStream) or (self._has_begun and isinstance(error, outage))


@asynccontextmanager
async def _answer(offer: Offer, part: "_Part") -> AsyncGenerator[aiohttp.ClientResponse]:
    """Ask for what is missing; raises where it breaks off."""
    file, hub = offer.reference.file or "", offer.hub
    url = hf_hub_url(offer.reference.repo, file, revision=offer.commit, endpoint=hub.endpoint)
    headers = {"Accept-Encoding": "identity"}
    if part.size_bytes:
        headers["Range"] = f"bytes={part.size_bytes}-"
    if hub.token:
        headers["Authorization"] = f"Bearer {hub.token}"  # aiohttp drops it at another host
    try:
        # As huggingface_hub: where the Hub is reached through a proxy, the environment says so.
        async with (
            aiohttp.ClientSession(
                trust_env=True, timeout=_TIMEOUT, read_bufsize=_PIECE_BYTES
            ) as session,
            session.get(url, headers=headers, max_redirects=5) as response,
        ):
            if response.status not in {200, 206}:
                raise refused(hub, offer.reference, response.status)
            if response.content_type == "text/html":  # not to be kept for a piece of it
                what = f"sent a web page in place of {offer.reference}. Check the network and its proxy."
                raise hub_error(ProtocolViolation, what)
            yield response
    except aiohttp.ClientConnectorError as exc:
        raise hub_error(
            Unreachable,
            f"keeps {offer.reference} at {exc.host}, which cannot be reached. Check the network and the"
            " proxy, and pull again.",
        ) from exc
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise _interrupted(offer, part) from exc


class _Part:
    """What has come of a file, and its checksum so far."""

    def __init__(self, path: Path) -> None:
        """Open it, and read what an earlier pull has left."""
        path.touch(exist_ok=True)
        self._file: BinaryIO = path.open("r+b")
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        while piece := self._file.read(_PIECE_BYTES):
            self._hash.update(piece)
            self.size_bytes += len(piece)

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size_bytes += len(piece)

    def empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size_bytes = hashlib.sha256(), 0

    def digest(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


def _check_room(offer: Offer) -> None:
    needed = offer.size_bytes - offer.done_bytes
    free = shutil.disk_usage(offer.blob.parent).free
    if free < needed:
        raise TooLarge(
            f"{megabytes(needed)} are needed for {offer.reference} in {offer.hub.directory},"
            f" and {megabytes(free)} are free. Make room, or set HF_HUB_CACHE to another place."
        )


def _put_in_place(offer: Offer) -> None:
    """Name the blob in its snapshot, and the snapshot as the branch's, as huggingface_hub does."""
    if not offer.path.is_file():
        offer.path.parent.mkdir(parents=True, exist_ok=True)
        offer.path.unlink(missing_ok=True)
        depth = len(Path(offer.reference.file or "").parts) + 1
        try:
            offer.path.symlink_to(Path(*[".."] * depth, "blobs", offer.sha256))
        except OSError:  # Windows without the right to link
            shutil.copyfile(offer.blob, offer.path)
    ref = offer.blob.parent.parent / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(offer.commit)


def _interrupted(offer: Offer, part: "_Part") -> ProviderError:
    done, total = megabytes(part.size_bytes), megabytes(offer.size_bytes)
    what = f"broke off {offer.reference} after {done} of {total}. Pull again: it goes on there."
    return hub_error(BrokenStream, what)


@contextmanager
def _disk(offer: Offer) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise TooLarge(
            f"{offer.reference} cannot be kept in {offer.hub.directory}: {exc.strerror or exc}."
            " Make room there, or set HF_HUB_CACHE to another place."
        ) from exc
