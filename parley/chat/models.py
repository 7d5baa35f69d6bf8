"""Models: what can answer, and what it is able to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from parley.chat.errors import ProviderError
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
    """A provider's health and, where it is not ok, why: `reason` is for everybody.

    `for_log` is without what the provider said, and `for_operator`, where it is not empty, has what
    only who runs this server is told: where the provider is.
    """

    state: HealthState
    reason: str = ""
    for_log: str = ""
    for_operator: str = ""

    @classmethod
    def after(cls, error: ProviderError, state: HealthState = HealthState.DOWN) -> "Health":
        """Say how a provider is doing that failed like this."""
        return cls(state, error.message, error.for_log, error.for_operator)


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model that could be fetched: shown before anybody is asked."""

    name: str
    size_bytes: int
    done_bytes: int
    licence: str | None
    directory: str


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is; one that is over has an error, or its model answers."""

    done_bytes: int
    total_bytes: int
    is_over: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn; None leaves the provider its own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def or_else(self, defaults: "Sampling") -> "Sampling":
        """Give what is set here, and the defaults for what is not."""
        return Sampling(
            max_tokens=defaults.max_tokens if self.max_tokens is None else self.max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=defaults.top_p if self.top_p is None else self.top_p,
            stop=self.stop or defaults.stop,
            seed=defaults.seed if self.seed is None else self.seed,
        )


class Tokenizer(Protocol):
    """Counts tokens as a model does; `name` says which tokenizer it is."""

    @property
    def name(self) -> str:
        """Name the tokenizer: counts of the same name can be kept and used again."""
        ...

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        """Count each text; None where it cannot be said now. Never raises, never blocks long."""
        ...


class Tries(Protocol):
    """Who sent a request, where the request may be tried again on the way."""

    def may_retry(self, error: ProviderError, pause_s: float) -> bool:
        """Say whether, after this failure and a pause, there may be another try."""
        ...

    def begin(self) -> None:
        """Take note that the pause is over, and the next try begins."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model is offered; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may or must call a tool; `name` is the one that it must call."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Parley's own tools as one completion is offered them, and whether it must call any tool."""

    tools: tuple[ToolSpec, ...] = ()
    choice: ToolChoice | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """JSON is wanted: any object, or one of `schema` (a JSON Schema) where that is given."""

    schema: Mapping[str, object] | None = None
    name: str = "answer"
    strict: bool = False


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One provider call: the upstream's name of the model and exactly what it gets to see.

    A provider that cannot do what `tools` or `response_format` ask raises `RequestRefused`
    before it sends anything. `tries`, where it is there, hears of each further try and may forbid
    it. `language` is that of who reads the answer, if known, for a provider that speaks for itself:
    no model is told. `credential` is the user's own token at the provider: it is a secret, is in no digest, and
    goes to its provider's own servers alone. `model_id` is the model's id here, whose settings an
    error names.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    tries: Tries | None = field(default=None, compare=False, repr=False)
    credential: str | None = field(default=None, compare=False, repr=False)
    language: str = field(default="", compare=False)
    model_id: str = field(default="", compare=False)
