"""The data layer: Parley beside Chainlit's official layer, on the same data and database server."""

import gc
import os
import tempfile
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

import uvloop
from chainlit.data.base import BaseDataLayer
from chainlit.types import Pagination, ThreadFilter

from benchmarks import data_layer_corpus as corpus
from benchmarks.data_layer_fill import loading
from benchmarks.data_layer_measure import timed
from benchmarks.data_layer_official import fill_official, official_user, open_official
from benchmarks.data_layer_ours import create_ours, fill_ours, new_owner, open_ours
from benchmarks.data_layer_rows import Figures, Measured, OurFigures, Page, Reading, rows_of
from benchmarks.data_layer_turns import (
    USERS,
    chainlit_cost,
    engine_cost,
    lost_by_chainlit,
    lost_by_engine,
)
from benchmarks.table import Row, progress
from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from parley.observability.logs import LogConfig, configure_logs
from tests.services import postgres_server

_RUNS, _SLOW_RUNS = 15, 3
_PAGE = 20
_WORDS = {"rare word": corpus.RARE, "common word": corpus.COMMON, "prefix": corpus.PREFIX}


def data_layer_rows() -> list[Row]:
    """Measure both layers on both databases; takes minutes, most of them to fill ours."""
    configure_logs(LogConfig(level="WARNING"))
    cores = os.cpu_count() or 1
    os.sched_setaffinity(0, range(cores))
    progress(f"the data layer, with a load of {os.getloadavg()[0]:.1f} on {cores} cores")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        urls = [f"sqlite+aiosqlite:///{directory}/{name}.db" for name in ("ours", "official")]
        rows += rows_of(_measure("SQLite", *urls))
    with postgres_server() as server, server.database() as ours, server.database() as official:
        rows += rows_of(_measure("PostgreSQL", ours, official))
    return rows


def _measure(database: str, url: str, official_url: str) -> Measured:
    # A loop for each: none is slowed by what another left behind.
    progress(f"Parley's data layer on {database}")
    ours = uvloop.run(_ours(url))
    progress(f"Chainlit's official layer on {database}")
    if database == "SQLite" and find_spec("aiosqlite") is None:
        return Measured(database, ours, "not measured: aiosqlite is not installed")
    return Measured(database, ours, uvloop.run(_official(official_url)))


async def _ours(url: str) -> OurFigures:
    reader, many, patient = new_owner(), new_owner(), new_owner()
    thread = corpus.long_thread()
    await create_ours(url)
    async with loading(url):
        await fill_ours(url, reader, corpus.threads())
        await fill_ours(url, many, corpus.many_threads())
        await fill_ours(url, patient, [thread])
    async with open_ours(url) as ours:
        layer = ours.layer()
        _quieten_collector()
        reading = await _read(layer, reader, ours.layer(None), patient, thread.id)
        current_owner.set(many)
        page_of_many = await timed(_list(layer, many), _RUNS)
        cost = await engine_cost(ours.turns, new_owner())
        lost = await lost_by_engine(layer, ours.turns, [new_owner() for _ in range(USERS)])
        by_layer = await chainlit_cost(layer, new_owner())
        lost_by_layer = await lost_by_chainlit(layer, [new_owner() for _ in range(USERS)])
        return OurFigures(reading, cost, lost, page_of_many, by_layer, lost_by_layer)


async def _official(url: str) -> Figures | str:
    thread = corpus.long_thread()
    async with open_official(url) as layer:
        reader, patient, *others = [
            await official_user(layer, f"user-{number}") for number in range(2 + USERS)
        ]
        async with loading(url):
            await fill_official(url, reader, corpus.threads())
            await fill_official(url, patient, [thread])
        _quieten_collector()
        try:
            reading = await _read(layer, reader, layer, patient, thread.id, _SLOW_RUNS)
            cost = await chainlit_cost(layer, others[0])
            return Figures(reading, cost, await lost_by_chainlit(layer, others))
        except Exception as error:  # noqa: BLE001 - what it fails with is the figure
            return f"fails: {error!r}"


async def _read(
    layer: BaseDataLayer,
    reader: Owner,
    whole: BaseDataLayer,
    patient: Owner,
    thread_id: str,
    runs: int = _RUNS,
) -> Reading:
    current_owner.set(reader)
    page = await timed(_list(layer, reader), runs)
    reachable = await _reachable(layer, reader)
    searches = {
        name: await timed(_list(layer, reader, word), runs) for name, word in _WORDS.items()
    }
    current_owner.set(patient)
    thread = await timed(lambda: whole.get_thread(thread_id), runs)
    assert thread.result
    assert len(thread.result["steps"]) == corpus.LONG_THREAD
    return Reading(page, reachable, searches, thread)


def _list(
    layer: BaseDataLayer, owner: Owner, search: str | None = None
) -> Callable[[], Awaitable[Page]]:
    return lambda: layer.list_threads(
        Pagination(first=_PAGE), ThreadFilter(userId=owner.id, search=search)
    )


async def _reachable(layer: BaseDataLayer, owner: Owner) -> int:
    """Turn pages to the end, as large as the layer gives them."""
    count, cursor = 0, None
    while True:
        size = Pagination(first=corpus.THREADS, cursor=cursor)
        page: Page = await layer.list_threads(size, ThreadFilter(userId=owner.id))
        count += len(page.data)
        cursor = page.pageInfo.endCursor
        if not page.pageInfo.hasNextPage:
            return count


def _quieten_collector() -> None:
    """Do as app.py does when it is ready; for the official layer, too."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
