"""Profiles: the server's word, the file's, and the table's, in this order of trust."""

import pytest

from parley.chat.models import Capabilities
from providers.config import ModelConfig
from providers.profiles import profile


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("gpt-4o-mini", 128_000),
        ("gpt-4.1-nano", 1_047_576),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072),
        ("qwen3:0.6b", 32_768),
        ("gpt-4", None),
        ("gpt-4omni", None),
        ("o30", None),
        ("my-own", None),
    ],
)
def test_table_knows_only_what_it_names(model: str, window: int | None) -> None:
    assert profile(model).context_window == window


def test_longest_beginning_of_a_name_wins() -> None:
    assert profile("o3").vision
    assert not profile("o3-mini-2025").vision


def test_server_says_more_than_the_table() -> None:
    can = profile("gpt-4o", Capabilities(4096, prefill=True))
    assert can == Capabilities(4096, tools=True, vision=True, prefill=True)


@pytest.mark.parametrize(
    ("told", "configured", "window"),
    [(None, None, None), (4096, None, 4096), (None, 9000, 9000), (4096, 9000, 4096), (9000, 4096, 4096)],
)  # fmt: skip
def test_smaller_window_of_server_and_file_counts(
    told: int | None, configured: int | None, window: int | None
) -> None:
    row = ModelConfig("a", "openai", context_window=configured)
    assert profile("mine", Capabilities(told), row).context_window == window


def test_file_takes_abilities_away_and_gives_them() -> None:
    can = profile("gpt-4o", None, ModelConfig("a", "openai", tools=False, reasoning=True))
    assert (can.tools, can.vision, can.reasoning) == (False, True, True)
