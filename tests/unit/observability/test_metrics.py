"""Metrics: Prometheus can read them."""

from parley.observability import metrics


def test_renders_prometheus_text() -> None:
    text = metrics.render().decode()
    assert text.endswith("\n")
    for name in (
        "parley_turns_total",
        "parley_turns_running",
        "parley_tokens_total",
        "process_resident_memory_bytes",
    ):
        assert f"# HELP {name.removesuffix('_total')}" in text


def test_labels_are_bounded() -> None:
    """A user or a turn as a label would be a new time series each."""
    allowed = {
        "outcome",
        "direction",
        "provider",
        "error",
        "operation",
        "reason",
        "source",
        "le",
        "tool",
    }
    used = {
        label for family in metrics.REGISTRY.collect() for s in family.samples for label in s.labels
    }
    assert used <= allowed
