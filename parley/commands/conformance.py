"""The command `conformance`: what a model server really does."""

import asyncio
import sys
from typing import Annotated

import typer

from parley.conformance.questions import DialectName
from parley.conformance.report import as_json, as_table
from parley.conformance.run import examine
from parley.settings.named import environment_value

_NOT_USABLE, _NOT_ASKED = 1, 2


def conformance_command(
    base_url: Annotated[str, typer.Option(help="The server, usually with /v1 at the end.")],
    dialect: Annotated[DialectName, typer.Option(help="tgi is its native one.")] = "openai",
    model: Annotated[str | None, typer.Option(help="By default the first of its list.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds the key.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each request.", min=0.1)] = 15.0,
    json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False,
) -> None:
    """Try what a model server really does: at most 24 requests, some hundred tokens."""
    key = environment_value(api_key_env) if api_key_env else None
    if api_key_env and key is None:
        sys.stderr.write(
            f"Parley: {api_key_env} is not set: export it, or leave --api-key-env out.\n"
        )
        raise typer.Exit(_NOT_ASKED)
    report = asyncio.run(
        examine(base_url, dialect=dialect, api_key=key, model=model, timeout_s=timeout)
    )
    typer.echo(as_json(report) if json else as_table(report))
    if not report.usable:
        raise typer.Exit(_NOT_USABLE)
