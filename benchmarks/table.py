"""Tables: the one form in which every benchmark tells its figures."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its target and its baseline."""

    what: str
    figure: str
    target: str
    baseline: str
    reached: bool


def progress(what: str) -> None:
    """Tell who waits what is measured now; the table alone goes to standard output."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def print_rows(rows: Iterable[Row]) -> None:
    """Print a table in Markdown."""
    print("| what | figure | target | baseline in this run | reached |")
    print("|---|---|---|---|---|")
    for row in rows:
        reached = "yes" if row.reached else "missed"
        print(f"| {row.what} | {row.figure} | {row.target} | {row.baseline} | {reached} |")
