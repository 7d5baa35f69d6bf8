"""Profiles: what a model can do, from its server, from `parley.toml`, or from a small table.

The server knows best how long its window is; the operator may make it smaller, never larger.
The table is for what servers do not say, and is known to be incomplete: a model that is not in
it has no window and no abilities rather than guessed ones.
"""

from dataclasses import replace

from parley.chat.models import Capabilities
from providers.config import ModelConfig

_K = 1024


def _can(window: int | None, abilities: str = "") -> Capabilities:
    words = abilities.split()
    return Capabilities(window, "tools" in words, "vision" in words, "reasoning" in words)


# By the beginning of the name, without its organisation; the longest beginning wins.
_TABLE = {
    "gpt-3.5-turbo": _can(16_385, "tools"),
    "gpt-4-turbo": _can(128_000, "tools vision"),
    "gpt-4o": _can(128_000, "tools vision"),
    "gpt-4.1": _can(1_047_576, "tools vision"),
    "gpt-5": _can(400_000, "tools vision reasoning"),
    "o1": _can(200_000, "tools vision reasoning"),
    "o3": _can(200_000, "tools vision reasoning"),
    "o3-mini": _can(200_000, "tools reasoning"),
    "o4-mini": _can(200_000, "tools vision reasoning"),
    "gemini-1.5": _can(1_048_576, "tools vision"),
    "gemini-2.0-flash": _can(1_048_576, "tools vision"),
    "gemini-2.5": _can(1_048_576, "tools vision reasoning"),
    "gemini-3": _can(1_048_576, "tools vision reasoning"),
    "gemini-flash-latest": _can(1_048_576, "tools vision reasoning"),
    "gemini-flash-lite-latest": _can(1_048_576, "tools vision reasoning"),
    "gemini-pro-latest": _can(1_048_576, "tools vision reasoning"),
    # What follows runs on servers that may be started with less: their list says so.
    "llama-3.1": _can(128 * _K, "tools"),
    "llama-3.2": _can(128 * _K),
    "llama-3.3": _can(128 * _K, "tools"),
    "llama-4": _can(None, "tools vision"),
    "gemma-3": _can(128 * _K, "vision"),
    "mistral-small-3": _can(128 * _K, "tools"),
    "mistral-nemo": _can(128 * _K, "tools"),
    "qwen2.5-vl": _can(32 * _K, "vision"),
    "qwen3-vl": _can(None, "tools vision"),
    "deepseek-v3": _can(128 * _K, "tools"),
    "qwen2.5": _can(32 * _K, "tools"),
    "qwen3": _can(32 * _K, "tools reasoning"),
    "deepseek-r1": _can(None, "reasoning"),
    "gpt-oss": _can(128 * _K, "tools reasoning"),
    "smollm2": _can(8 * _K),
    "smollm3": _can(64 * _K, "tools reasoning"),
}


def profile(
    model: str, listed: Capabilities | None = None, configured: ModelConfig | None = None
) -> Capabilities:
    """Put together what is known of a model, by its upstream name."""
    known = _known(model)
    if listed is not None:
        known = replace(
            listed,
            context_window=listed.context_window or known.context_window,
            tools=listed.tools or known.tools,
            vision=listed.vision or known.vision,
            reasoning=listed.reasoning or known.reasoning,
        )
    if configured is None:
        return known
    told = listed.context_window if listed else None
    return replace(
        known,
        context_window=_window(told, configured.context_window) or known.context_window,
        tools=known.tools if configured.tools is None else configured.tools,
        vision=known.vision if configured.vision is None else configured.vision,
        reasoning=known.reasoning if configured.reasoning is None else configured.reasoning,
        prefill=known.prefill if configured.prefill is None else configured.prefill,
    )


def _window(told: int | None, configured: int | None) -> int | None:
    return min(told, configured) if told and configured else told or configured


def _known(model: str) -> Capabilities:
    name = model.lower().rpartition("/")[2]
    beginnings = [
        b for b in _TABLE if name == b or (name.startswith(b) and not name[len(b)].isalnum())
    ]
    return _TABLE[max(beginnings, key=len)] if beginnings else Capabilities()
