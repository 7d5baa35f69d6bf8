"""``python -m benchmarks``: run them all, or those that are named; print one table for each."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import uvloop

from benchmarks import servers
from benchmarks.data_layer import data_layer_rows
from benchmarks.failure_matrix import failure_rows
from benchmarks.http_streaming import (
    Figures,
    FirstText,
    measure_first_text,
    measure_flood,
    measure_streaming,
)
from benchmarks.live import live_rows
from benchmarks.load import chat_body, completion_body
from benchmarks.page import page_rows
from benchmarks.provider_figures import provider_rows
from benchmarks.sockets import socket_rows
from benchmarks.table import Row, print_rows, progress
from benchmarks.yardstick import yardstick_rows


def main() -> None:
    """Run the benchmarks; exit 0 whatever they say: a figure is no test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("table", nargs="*", help=f"{', '.join(_TABLES)}; all where none is named")
    names = parser.parse_args().table or list(_TABLES)
    if unknown := set(names) - set(_TABLES):
        parser.error(f"there is no table {', '.join(sorted(unknown))}")
    for name in names:
        print_rows(_TABLES[name]())


def _http_table() -> list[Row]:
    servers.pin(0, servers.CLIENT_CORE)
    return uvloop.run(_http_rows())


_TABLES: dict[str, Callable[[], Sequence[Row]]] = {
    "http": _http_table,
    "data-layer": data_layer_rows,
    "providers": provider_rows,
    "failures": failure_rows,
    "page": page_rows,
    "sockets": socket_rows,
    "live": live_rows,
    "yardstick": yardstick_rows,
}


async def _http_rows() -> list[Row]:
    with ExitStack() as stack:
        upstream = stack.enter_context(
            servers.child("benchmarks.upstream", core=servers.CLIENT_CORE)
        )
        url = f"http://127.0.0.1:{upstream.port}"
        with servers.child("benchmarks.relay_bytes", url) as relay:
            progress("byte relay")
            limit = await measure_streaming(relay)
            relayed = await measure_first_text(relay.port, "/chat", chat_body)
        with servers.child("benchmarks.relay_bytes", url, "chunks") as relay:
            progress("byte relay, chunk by chunk")
            by_chunk = await measure_flood(relay)
        with servers.child("benchmarks.relay_sdk", url) as relay:
            progress("openai SDK relay")
            sdk = await measure_streaming(relay)
        progress("upstream alone")
        direct = await measure_first_text(upstream.port, "/v1/chat/completions", completion_body)
        with servers.parley(upstream.port) as server:
            progress("parley")
            ready_s, ready_mb = server.ready_s, server.rss_mb()
            ours = await measure_streaming(server)
            ours_first = await measure_first_text(server.port, "/chat", chat_body)
    return [
        _flood_row(ours, by_chunk, limit, sdk),
        *_paced_rows(ours, limit, sdk),
        *_first_text_rows(ours_first, direct, relayed),
        Row("ready after", f"{ready_s:.1f} s", "≤ 5 s", "", ready_s <= 5),
        Row("memory when ready", f"{ready_mb:.0f} MB", "≤ 200 MB", "", ready_mb <= 200),
    ]


def _flood_row(ours: Figures, by_chunk: float, limit: Figures, sdk: Figures) -> Row:
    ratio = ours.flood_tokens_per_s / by_chunk
    return Row(
        "flood, tokens/s (20 streams × 1,000)",
        f"{ours.flood_tokens_per_s:,.0f} = {ratio:.2f} of the byte relay, chunk by chunk",
        "≥ 1.5 of it, 150,000",
        f"byte relay {by_chunk:,.0f}, by blocks {limit.flood_tokens_per_s:,.0f},"
        f" SDK {sdk.flood_tokens_per_s:,.0f}",
        ratio >= 1.5 and ours.flood_tokens_per_s >= 150_000,
    )


def _paced_rows(ours: Figures, limit: Figures, sdk: Figures) -> Iterable[Row]:
    cpu = ours.paced_cpu_ms_per_1000 / limit.paced_cpu_ms_per_1000
    yield Row(
        "CPU ms for 1,000 tokens (50 streams × 20/s)",
        f"{ours.paced_cpu_ms_per_1000:.0f} = {cpu:.2f} of the byte relay",
        "≤ 1.5 of it",
        f"byte relay {limit.paced_cpu_ms_per_1000:.0f}, SDK {sdk.paced_cpu_ms_per_1000:.0f}",
        cpu <= 1.5,
    )
    first = ours.paced_first_ms / limit.paced_first_ms
    yield Row(
        "first text p50, 50 at once (50 ms are the upstream's)",
        f"{ours.paced_first_ms:.0f} ms = {first:.2f} of the byte relay",
        "≤ 1.5 of it",
        f"byte relay {limit.paced_first_ms:.0f} ms, SDK {sdk.paced_first_ms:.0f} ms",
        first <= 1.5,
    )


def _first_text_rows(ours: FirstText, direct: FirstText, relay: FirstText) -> Iterable[Row]:
    added = ours.sequential_p50 - direct.sequential_p50
    yield Row(
        "added to first text, one by one, p50",
        f"{added:.1f} ms",
        "≤ 3 ms",
        f"byte relay {relay.sequential_p50 - direct.sequential_p50:.1f} ms",
        added <= 3,
    )
    tail = ours.at_rate_p99 - direct.at_rate_p50
    yield Row(
        "added to first text, 100 requests/s, p99",
        f"{tail:.1f} ms",
        "≤ 10 ms",
        f"byte relay {relay.at_rate_p99 - direct.at_rate_p50:.1f} ms",
        tail <= 10,
    )


if __name__ == "__main__":
    main()
