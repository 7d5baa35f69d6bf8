"""Rows: what was measured of both layers, said beside the targets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chainlit.types import PaginatedResponse, ThreadDict

from benchmarks import data_layer_corpus as corpus
from benchmarks.data_layer_measure import Cost, Timed, kilobytes
from benchmarks.data_layer_turns import QUICK_TURNS
from benchmarks.table import Row

Page = PaginatedResponse[ThreadDict]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a layer reads: a page, how far pages go, searches, a long thread."""

    page: Timed[Page]
    reachable: int
    searches: dict[str, Timed[Page]]
    thread: Timed[ThreadDict | None]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one layer did on one database."""

    reading: Reading
    cost: Cost
    lost: int


@dataclass(frozen=True, slots=True)
class OurFigures(Figures):
    """What ours is asked for besides."""

    page_of_many: Timed[Page]
    cost_by_layer: Cost
    lost_by_layer: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Both on one database; of the official layer the reason where it fails."""

    database: str
    ours: OurFigures
    official: Figures | str

    def beside(self, tell: Callable[[Figures], str]) -> str:
        """Tell a figure of the official layer, or why there is none."""
        return self.official if isinstance(self.official, str) else tell(self.official)


def rows_of(measured: Measured) -> Iterator[Row]:
    """Say it all, the rows of the table of targets in its order."""
    yield from _page_rows(measured)
    for name in measured.ours.reading.searches:
        yield _search_row(measured, name)
    yield from _thread_rows(measured)
    yield from _turn_rows(measured)


def _page_rows(measured: Measured) -> Iterator[Row]:
    ours = measured.ours
    page, many = ours.reading.page, ours.page_of_many
    yield Row(
        f"page of 20 threads, {corpus.THREADS:,} × {corpus.MESSAGES_EACH}, {measured.database}",
        _timing(page),
        "≤ 5 ms",
        measured.beside(lambda official: _timing(official.reading.page)),
        page.times.median <= 5,
    )
    yield Row(
        f"the same of {corpus.MANY_THREADS:,} threads, {measured.database}",
        _timing(many),
        "≤ 5 ms: flat",
        "",
        many.times.median <= 5,
    )
    yield Row(
        f"threads that pages reach, {measured.database}",
        f"{ours.reading.reachable:,} of {corpus.THREADS:,}",
        "all",
        measured.beside(lambda official: f"{official.reading.reachable:,}"),
        ours.reading.reachable == corpus.THREADS,
    )


def _search_row(measured: Measured, name: str) -> Row:
    found = measured.ours.reading.searches[name]
    return Row(
        f"search of {corpus.THREADS * corpus.MESSAGES_EACH:,} messages, {name}, {measured.database}",
        _finding(found),
        "≤ 50 ms",
        measured.beside(lambda official: _finding(official.reading.searches[name])),
        found.times.median <= 50 and bool(found.result.data),
    )


def _thread_rows(measured: Measured) -> Iterator[Row]:
    thread = measured.ours.reading.thread
    what = f"a thread of {corpus.LONG_THREAD:,} messages"
    yield Row(
        f"{what}, {measured.database}",
        _reading(thread),
        "≤ 150 ms",
        measured.beside(lambda official: _reading(official.reading.thread)),
        thread.times.median <= 150,
    )
    yield Row(
        f"{what}, its worst stall, {measured.database}",
        str(thread.stalls),
        "≤ 20 ms",
        measured.beside(lambda official: str(official.reading.thread.stalls)),
        thread.stalls.median <= 20,
    )


def _turn_rows(measured: Measured) -> Iterator[Row]:
    ours = measured.ours
    yield Row(
        f"statements / transactions of a turn, {measured.database}",
        f"{_cost(ours.cost)}; what Chainlit writes for one: {_cost(ours.cost_by_layer)}",
        "≤ 8 / ≤ 3",
        measured.beside(lambda official: _cost(official.cost)),
        ours.cost.statements <= 8 and ours.cost.transactions <= 3,
    )
    yield Row(
        f"answers empty or lost of {QUICK_TURNS} quick turns, {measured.database}",
        f"{ours.lost} by the engine, {ours.lost_by_layer} by the layer",
        "0",
        measured.beside(lambda official: str(official.lost)),
        not ours.lost and not ours.lost_by_layer,
    )


def _timing(page: Timed[Page]) -> str:
    size = kilobytes(page.result.to_dict())  # type: ignore[no-untyped-call]  # Chainlit has no types
    return f"{_reading(page)}, stall {page.stalls.median:.1f}, {size}"


def _reading(read: Timed[Any]) -> str:
    return f"{read.times}, CPU {read.cpu.median:.1f}"


def _finding(page: Timed[Page]) -> str:
    more = "+" if page.result.pageInfo.hasNextPage else ""
    found = f"finds {len(page.result.data)}{more}"
    return f"{_reading(page)}, stall {page.stalls.median:.1f}, {found}"


def _cost(cost: Cost) -> str:
    return f"{cost.statements} / {cost.transactions}"
