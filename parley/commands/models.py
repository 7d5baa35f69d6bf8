"""The commands `models pull` and `models list`: GGUF files for the provider `local`.

What they do is in pulling.py, which is imported when one of them runs: `parley serve`, which is
the same program, is to have neither the Hub's client nor its memory.
"""

from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

models_cli = typer.Typer(no_args_is_help=True, help="Models that Parley serves itself.")


@models_cli.command("pull")
def pull_command(
    model: Annotated[
        str | None,
        typer.Argument(help="org/repo or org/repo:file.gguf on the Hub; by default a small model."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Fetch a model from the Hub, after saying what it is; goes on where it was broken off."""
    _pulling().pull_model(model, ask=not yes)


@models_cli.command("list")
def list_command() -> None:
    """List the models that are on this machine."""
    _pulling().list_models()


def _pulling() -> ModuleType:
    return import_module("parley.commands.pulling")
