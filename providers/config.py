"""What a provider is before it is opened: a connection, and what settings know of providers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait for a provider, in seconds.

    `first_event_s` runs from the request, `idle_s` between two events (keepalives are none),
    `total_s` over everything, the time that the consumer takes included. `after_finish_s` is how
    long a server may hold a finished stream open: the usage comes after the finish reason.
    """

    connect_s: float = 5.0
    first_event_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 900.0
    after_finish_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a provider is and how it is spoken to; `name` is the provider's.

    The `…_setting` fields are the words with which an error tells what to change. Key and headers
    are secrets and stay out of the repr.
    """

    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadlines: Deadlines = field(default_factory=Deadlines)
    # aiohttp's own limit of 100 makes request 101 wait behind a hundred slow answers.
    max_connections: int = 512
    key_setting: str = "the provider's key"
    url_setting: str = "the provider's base URL"
    model_setting: str = "the model's name"


@dataclass(frozen=True, slots=True)
class Offer:
    """A model server that can be used, and why; without a model, the first of its own list."""

    connection: Connection
    model: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class LoopbackPorts:
    """Where to look for model servers on this machine.

    Never 8000: it is Parley's own, and any server's.
    """

    ollama: int = 11434
    lmstudio: int = 1234
    llamacpp: int = 8080
    tgi: int = 8080


@dataclass(frozen=True, slots=True)
class ProvidersConfig:
    """What settings know of providers; None is what nobody has set.

    `openai_model` None means OpenAI's small model at OpenAI, and the first model of the server's
    own list behind an `openai_base_url`. `default_model` is ``provider:model``, `llm_provider` a
    provider alone. `max_tokens` and `temperature` apply where a request says nothing.
    """

    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_model: str | None = None
    tgi_base_url: str | None = None
    tgi_api_key: str | None = field(default=None, repr=False)
    default_model: str | None = None
    llm_provider: str | None = None
    detect_local: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
