"""Embedded: whether Parley can answer by itself, from what is on this machine. Imports no SDK."""

import asyncio
import importlib.util
from functools import cache
from importlib import import_module

from providers.config import Connection, Deadlines, Offer

DIALECT = "local"


@cache
def is_installed() -> bool:
    """Whether llama.cpp is there (the extra `local`)."""
    return importlib.util.find_spec("xllamacpp") is not None


def local_connection(deadlines: Deadlines, model: str | None = None) -> Connection:
    """Make the connection of the dialect `local`; `model` is a path or ``org/repo:file.gguf``."""
    return Connection(DIALECT, model or "", deadlines=deadlines, model_setting="LOCAL_MODEL")


async def offer_kept(deadlines: Deadlines) -> list[Offer]:
    """Offer the suggested model, or another, where its file was fetched before; asks no network."""
    if not is_installed():
        return []
    found = await asyncio.to_thread(_find)
    if found is None:
        return []
    return [Offer(local_connection(deadlines), found, f"{found} is on this machine", DIALECT)]


def _find() -> str | None:
    found = import_module("providers.weights").find_suggested()
    return None if found is None else str(found)
