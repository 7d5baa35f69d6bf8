"""``python -m benchmarks``: run them all, print one table."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import uvloop

from benchmarks import servers
from benchmarks.http_streaming import (
    Figures,
    FirstText,
    measure_first_text,
    measure_streaming,
)
from benchmarks.load import chat_body, completion_body


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its target and its baseline."""

    what: str
    figure: str
    target: str
    baseline: str
    reached: bool


def main() -> None:
    """Run the benchmarks; exit 0 whatever they say: a figure is no test."""
    servers.pin(0, servers.CLIENT_CORE)
    _print(uvloop.run(_http_rows()))


async def _http_rows() -> list[Row]:
    with ExitStack() as stack:
        upstream = stack.enter_context(
            servers.child("benchmarks.upstream", core=servers.CLIENT_CORE)
        )
        url = f"http://127.0.0.1:{upstream.port}"
        with servers.child("benchmarks.relay_bytes", url) as relay:
            _progress("byte relay")
            limit = await measure_streaming(relay)
            relayed = await measure_first_text(relay.port, "/chat", chat_body)
        with servers.child("benchmarks.relay_sdk", url) as relay:
            _progress("openai SDK relay")
            sdk = await measure_streaming(relay)
        _progress("upstream alone")
        direct = await measure_first_text(upstream.port, "/v1/chat/completions", completion_body)
        with servers.parley(upstream.port) as server:
            _progress("parley")
            ready_s, ready_mb = server.ready_s, server.rss_mb()
            ours = await measure_streaming(server)
            ours_first = await measure_first_text(server.port, "/chat", chat_body)
    return [
        *_streaming_rows(ours, limit, sdk),
        *_first_text_rows(ours_first, direct, relayed),
        Row("ready after", f"{ready_s:.1f} s", "≤ 5 s", "", ready_s <= 5),
        Row("memory when ready", f"{ready_mb:.0f} MB", "≤ 200 MB", "", ready_mb <= 200),
    ]


def _streaming_rows(ours: Figures, limit: Figures, sdk: Figures) -> Iterable[Row]:
    flood = ours.flood_tokens_per_s / limit.flood_tokens_per_s
    yield Row(
        "flood, tokens/s (20 streams × 1,000)",
        f"{ours.flood_tokens_per_s:,.0f} = {flood:.2f} of the byte relay",
        "≥ 1.5 of it",
        f"byte relay {limit.flood_tokens_per_s:,.0f}, SDK {sdk.flood_tokens_per_s:,.0f}",
        flood >= 1.5,
    )
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


def _progress(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def _print(rows: list[Row]) -> None:
    print("| what | figure | target | baseline in this run | reached |")
    print("|---|---|---|---|---|")
    for row in rows:
        reached = "yes" if row.reached else "no"
        print(f"| {row.what} | {row.figure} | {row.target} | {row.baseline} | {reached} |")


if __name__ == "__main__":
    main()
