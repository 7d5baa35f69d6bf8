"""Models: what can answer, and what it is able to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from parley.chat.messages import Message


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do; `is_model` is False for the demo provider, which is none."""

    context_window: int | None = None
    tools: bool = False
    vision: bool = False
    reasoning: bool = False
    prefill: bool = False
    is_model: bool = True


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that users can choose; `id` is ``provider:model`` or a configured short name."""

    id: str
    provider: str
    name: str
    label: str
    capabilities: Capabilities = field(default_factory=Capabilities)


class HealthState(StrEnum):
    """How a provider is doing."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Health:
    """A provider's health and, where it is not ok, why."""

    state: HealthState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn; None leaves the provider its own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


class Tokenizer(Protocol):
    """Counts tokens as a model does; `name` says which tokenizer it is."""

    @property
    def name(self) -> str:
        """Name the tokenizer: counts of the same name can be kept and used again."""
        ...

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        """Count each text; None where it cannot be said now. Never raises, never blocks long."""
        ...


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One provider call: the upstream's name of the model and exactly what it gets to see."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
