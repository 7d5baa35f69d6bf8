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


async def run_apart(module: str, *arguments: str, given: bytes) -> bytes | None:
    """Run a module of ours as a process, and give what it wrote; None where it did not end well."""
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
    try:
        written, _ = await process.communicate(given)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return None if process.returncode else written


def be_bounded() -> None:
    """Take away, in the child, what it does not need; not every system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
