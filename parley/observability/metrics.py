"""Metrics: what Prometheus reads. Labels are bounded: no user, thread or turn is one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

TURNS = Counter("parley_turns", "Turns that ended, by outcome.", ["outcome"], registry=REGISTRY)
TURNS_RUNNING = Gauge("parley_turns_running", "Turns that run now.", registry=REGISTRY)
TAKEOVERS = Counter(
    "parley_takeovers", "Turns taken over from servers that died.", registry=REGISTRY
)
TOKENS = Counter("parley_tokens", "Tokens, by direction.", ["direction"], registry=REGISTRY)
TIME_TO_FIRST_TEXT = Histogram(
    "parley_time_to_first_text_seconds",
    "From a turn's start to its first text.",
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
PROVIDER_ERRORS = Counter(
    "parley_provider_errors", "Failed provider calls.", ["provider", "error"], registry=REGISTRY
)
TOOL_CALLS = Counter(
    "parley_tool_calls",
    "Calls of tools, by how they ended.",
    ["tool", "outcome"],
    registry=REGISTRY,
)
STORE_ERRORS = Counter(
    "parley_store_errors", "Failed database operations.", ["operation"], registry=REGISTRY
)
CONTEXTS = Counter(
    "parley_contexts",
    "Contexts of turns: from the store, from the rows, or from them since the store's was stale.",
    ["source"],
    registry=REGISTRY,
)
CONTEXT_LOADS = Counter(
    "parley_context_loads",
    "Active contexts asked of Redis: loaded, miss, or why there was none to use.",
    ["outcome"],
    registry=REGISTRY,
)
CONTEXT_SAVES = Counter(
    "parley_context_saves",
    "Active contexts given to Redis: saved, or why not.",
    ["outcome"],
    registry=REGISTRY,
)
LOG_WRITES = Counter(
    "parley_log_writes",
    "Round trips that took events and news to Redis, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)
REDIS_AWAY = Gauge("parley_redis_away", "1 while Redis does not answer.", registry=REGISTRY)
REDIS_OUTAGES = Counter(
    "parley_redis_outages", "Times that Redis went away.", ["reason"], registry=REGISTRY
)


def render() -> bytes:
    """Render all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
