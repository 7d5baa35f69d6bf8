"""The command `fake-server`: a model server that says, and breaks, what a script says."""

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from parley.fake_server.exchange import listening
from parley.fake_server.script import Script, ScriptError, read_script
from parley.fake_server.server import ScriptedServer

_FAILED, _BAD_SCRIPT = 1, 2


def fake_server_command(
    script: Annotated[
        Path | None, typer.Option(help="What to answer (TOML); without it, a default.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 0,
) -> None:
    """Run a fake model server: OpenAI's, TGI's and Gemini's dialects, and their faults."""
    try:
        read = read_script(script) if script else Script()
    except ScriptError as error:
        sys.stderr.write(f"Parley: {error}\n")
        raise typer.Exit(_BAD_SCRIPT) from None
    server = ScriptedServer(read, _tell)
    try:
        asyncio.run(_serve(server, host, port))
    except OSError as error:
        sys.stderr.write(f"Parley: cannot listen on {host}:{port}: {error.strerror}\n")
        raise typer.Exit(_FAILED) from None


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _serve(server: ScriptedServer, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C ends it all the same
            loop.add_signal_handler(number, stop.set)
    async with listening(server, host, port):
        _tell(f"Fake model server: {server.root}")
        for line in _settings(server):
            _tell(f"  {line}")
        await stop.wait()


def _settings(server: ScriptedServer) -> list[str]:
    """Say what to set, for each dialect; a key only where the script wants one."""
    script = server.script
    key = f" OPENAI_API_KEY={script.api_key}" if script.api_key else ""
    openai = f"OPENAI_BASE_URL={server.base_url} OPENAI_MODEL={script.model}{key}"
    return [
        openai,
        f"or TGI_BASE_URL={server.root}",
        f"or, for Gemini's SDK, {server.root} as its base URL",
    ]
