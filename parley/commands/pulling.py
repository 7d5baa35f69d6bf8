"""Pulling: what `parley models` does. Imported by its commands alone: it brings the Hub's client."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

import typer

from parley.chat.errors import ParleyError
from parley.commands.configuration import read_config
from parley.observability.logs import configure_logs
from parley.settings.build import Config
from providers.embedded import is_installed
from providers.hub import Hub, Offer, look_up, megabytes
from providers.pull import Progress, pull
from providers.weights import DEFAULT, cache_directory, list_kept

_FAILED, _INTERRUPTED = 1, 130
_WITHOUT_PULL = "There is none. Fetch a small one with: parley models pull"


def pull_model(model: str | None, *, ask: bool) -> None:
    """Fetch a model's file after saying what it is; the suggested one for None."""
    config = read_config()
    configure_logs(config.logs)
    with _told():
        asyncio.run(_pull(config, model or str(DEFAULT.reference), ask=ask))


def list_models() -> None:
    """List the files that are on this machine."""
    kept = list_kept()
    for file in kept:
        typer.echo(f"{file.reference}  {megabytes(file.size_bytes)}")
    typer.echo(f"In {cache_directory()}." if kept else _WITHOUT_PULL, err=True)


async def _pull(config: Config, model: str, *, ask: bool) -> None:
    offer = await look_up(model, Hub(token=config.providers.hf_token))
    _describe(offer)
    if offer.done_bytes < offer.size_bytes and ask:
        typer.confirm("Fetch it?", abort=True)
    async with aclosing(pull(offer)) as pieces:
        shown = _Shown()
        async for progress in pieces:
            shown.show(progress)
    typer.echo(f"It is there: {offer.path}")
    typer.echo(_used(offer))


def _describe(offer: Offer) -> None:
    left = offer.size_bytes - offer.done_bytes
    missing = f", {megabytes(left)} of it to fetch" if 0 < left < offer.size_bytes else ""
    typer.echo(f"Model:    {offer.reference}")
    typer.echo(f"Size:     {megabytes(offer.size_bytes)}{missing}")
    typer.echo(f"Licence:  {offer.licence or 'not named'}")
    typer.echo(f"Goes to:  {offer.hub.directory}")


def _used(offer: Offer) -> str:
    if not is_installed():
        return "To serve it Parley needs llama.cpp: pip install 'parley[local]'"
    if offer.reference == DEFAULT.reference:
        return "Restart Parley: it answers with it where no other model is configured."
    return f"To use it: LOCAL_MODEL={offer.reference}"


class _Shown:
    """Progress on standard error: a line that changes, or on a file a line for each tenth."""

    def __init__(self) -> None:
        self._last = -1

    def show(self, progress: Progress) -> None:
        """Show a progress that says something new."""
        terminal = sys.stderr.isatty()
        percent = progress.done_bytes * 100 // progress.total_bytes
        step = percent if terminal else percent // 10
        if step == self._last:
            return
        self._last = step
        line = f"{percent:3} % of {megabytes(progress.total_bytes)}"
        end = "\r" if terminal and percent < 100 else "\n"
        sys.stderr.write(line + end)
        sys.stderr.flush()


@contextmanager
def _told() -> Iterator[None]:
    """End the command with one line where what is expected to go wrong does."""
    try:
        yield
    except ParleyError as error:
        sys.stderr.write(f"Parley: {error.message}\n")
        raise typer.Exit(_FAILED) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nParley: stopped. Pull again: it goes on where it was.\n")
        raise typer.Exit(_INTERRUPTED) from None
