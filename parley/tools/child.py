"""Child: work that is done apart, in a process that has little, may do less, and ends with its call.

It has neither our memory nor our environment: whatever a page does to what reads it ends there.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 20
_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    # Threads of libraries reserve memory for each core; the child has little, on any machine.
    "MALLOC_ARENA_MAX": "2",
    "TOKIO_WORKER_THREADS": "2",
}


async def run_apart(
    module: str, *arguments: str, given: bytes, limit_bytes: int = 16 * 2**20
) -> bytes | None:
    """Run a module of ours as a process, and give what it wrote.

    None where it did not end well, or wrote more than it may.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env=_ENVIRONMENT,
    )
    assert process.stdin
    assert process.stdout
    giving = asyncio.ensure_future(_give(process.stdin, given))
    try:
        written = await _take(process.stdout, limit_bytes)
        if written is not None:
            await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
        await _end(process, process.stdout)
    return None if process.returncode else written


async def _give(pipe: asyncio.StreamWriter, given: bytes) -> None:
    with suppress(ConnectionError):
        pipe.write(given)
        await pipe.drain()
        pipe.close()


async def _take(pipe: asyncio.StreamReader, limit_bytes: int) -> bytes | None:
    written = bytearray()
    while piece := await pipe.read(64 * 1024):
        written += piece
        if len(written) > limit_bytes:
            return None
    return bytes(written)


async def _end(process: asyncio.subprocess.Process, pipe: asyncio.StreamReader) -> None:
    """Wait for a process that was killed: asyncio does not see its end before its pipe is empty."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await pipe.read(2**20):
                pass
            await process.wait()


def be_bounded() -> None:
    """Take away, in the child, what it does not need; not every system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
