"""The ``parley`` command."""

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
import uvicorn
from typing_extensions import override

from parley.commands.configuration import read_config
from parley.commands.conformance import conformance_command
from parley.commands.database import export_command, forget_command, migrate_command
from parley.commands.doctor import doctor_command
from parley.commands.fake_server import fake_server_command
from parley.commands.models import models_cli
from parley.commands.tokens import tokens_cli
from parley.surfaces.http.start import EXIT_CODE as EXPLAINED_CODE

# uvicorn's own code for a server that did not start.
_NOT_STARTED = 3

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Typer's own tracebacks may show the values of variables, secrets and messages among them.
    pretty_exceptions_enable=False,
    help="Self-hosted LLM chat.",
)
cli.command("migrate")(migrate_command)
cli.command("export")(export_command)
cli.command("forget")(forget_command)
cli.command("doctor")(doctor_command)
cli.command("conformance")(conformance_command)
cli.command("fake-server")(fake_server_command)
cli.add_typer(models_cli, name="models")
cli.add_typer(tokens_cli, name="token")


@cli.callback()
def parley() -> None:
    """Self-hosted LLM chat whose answers survive reload, crash and Stop."""


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST).")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (PORT).", min=0, max=65535)
    ] = None,
) -> None:
    """Apply the migrations and serve: one process; run more of them behind a balancer."""
    config = read_config()
    host = host or config.server.host
    port = config.server.port if port is None else port
    _announce(host, port, allow_guests=config.server.allow_guests)
    server = _Server(
        uvicorn.Config(
            "app:app",
            host=host,
            port=port,
            log_config=None,
            # Compressing each frame costs more than the bytes that it saves on a stream of words.
            ws_per_message_deflate=False,
            ws_max_size=config.server.body_limit_bytes,
            server_header=False,
            # Whom a peer speaks for is judged in one place, which needs the peer itself
            # (parley/auth/addresses.py).
            proxy_headers=False,
            # Open streams end with their turns; see EngineConfig.grace_s.
            timeout_graceful_shutdown=8,
        )
    )
    gc.disable()  # until the app is imported
    server.run()
    if not server.started:
        raise typer.Exit(_NOT_STARTED)


class _Server(uvicorn.Server):
    """Lets turns end, or be interrupted, while their readers are still connected."""

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        gc.enable()
        try:
            await super().startup(sockets)
        except SystemExit as end:
            sys.exit(self.lifespan.state.get(EXPLAINED_CODE, end.code))

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drain: Callable[[], Awaitable[None]] = self.lifespan.state.get("drain", _nothing)
        await asyncio.gather(drain(), super().shutdown(sockets))


async def _nothing() -> None:
    """There is nothing to drain in a server that did not start."""


def _announce(host: str, port: int, *, allow_guests: bool) -> None:
    local = host in {"127.0.0.1", "localhost", "::1"}
    typer.echo(f"Parley: http://{'localhost' if local else host}:{port}")
    if allow_guests and not local:
        typer.secho(
            "Everyone who reaches this address may chat as a guest (ALLOW_GUESTS).",
            fg="yellow",
            err=True,
        )


def main() -> None:
    """Run the command."""
    cli()
