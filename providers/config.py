"""What a provider is before it is opened: a connection, and what settings know of providers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# A data URL of a picture in a tool's result, the whole answer again in an event of TGI's: 1 MiB, as
# a first plan had it, is too little (docs/decisions/0041-size-of-an-event.md).
MAX_EVENT_BYTES = 4 * 2**20


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
class RetryConfig:
    """How often and how patiently a call is made again.

    Pauses are drawn between nothing and a bound that doubles. `retry_after_ceiling_s` is how long
    a provider may ask to be left alone: what asks for more fails at once. `total_s` bounds it all:
    no try begins later.
    """

    retries: int = 2
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    retry_after_ceiling_s: float = 20.0
    total_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a provider is and how it is spoken to; `name` is the provider's.

    The `…_setting` fields are the words with which an error tells what to change, that of deadlines
    with the deadline's name in place of ``{}``. Key and headers
    are secrets and stay out of the repr.
    """

    name: str
    base_url: str
    # What each address has behind its path (`api-version=1`); may hold a secret, as keys do.
    query: str = field(default="", repr=False, kw_only=True)
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadlines: Deadlines = field(default_factory=Deadlines)
    # aiohttp's own limit of 100 makes request 101 wait behind a hundred slow answers.
    max_connections: int = 512
    # Of one event of a stream, and of an answer in one document.
    max_event_bytes: int = MAX_EVENT_BYTES
    # What one dialect alone wants to know: Hugging Face's `provider`.
    options: Mapping[str, str] = field(default_factory=dict)
    key_setting: str = "the provider's key"
    url_setting: str = "the provider's base URL"
    model_setting: str = "the model's name"
    deadline_setting: str = "the deadlines"
    event_setting: str = "max_event_bytes"


@dataclass(frozen=True, slots=True)
class Offer:
    """A model server that can be used, and why; without a model, the first of its own list."""

    connection: Connection
    model: str | None
    reason: str
    dialect: str = "openai"


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
class Function:
    """A Python function that answers as a provider; `origin` is the file and line it is in."""

    name: str
    call: Callable[..., object]
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model as `parley.toml` has it, under the id that users see; None is what it leaves open.

    `api_key` is what `api_key_env` names. With a `base_url` no other key is ever sent there.
    """

    id: str
    provider: str
    model: str | None = None
    label: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    context_window: int | None = None
    fallbacks: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    tools: bool | None = None
    use_tools: tuple[str, ...] | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    prefill: bool | None = None
    max_concurrent: int | None = None
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ProvidersConfig:
    """What settings know of providers; None is what nobody has set.

    `openai_model` None means OpenAI's small model at OpenAI, and the first model of the server's
    own list behind an `openai_base_url`. `default_model` is ``provider:model``, `llm_provider` a
    provider alone; `file_default` is the default model of `parley.toml`, which they overrule.
    `max_tokens` and `temperature` apply where a request says nothing. `max_concurrent` is how many
    answers one provider writes at a time, `max_waiting` how many more may wait. `functions` are those that
    plug-in files registered, by name.
    """

    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_model: str | None = None
    tgi_base_url: str | None = None
    tgi_api_key: str | None = field(default=None, repr=False)
    hf_token: str | None = field(default=None, repr=False)
    # Users bring tokens of their own, from their sign-in: the provider is there without ours.
    hf_by_users: bool = False
    hf_model: str | None = None
    hf_provider: str = "auto"
    gemini_api_key: str | None = field(default=None, repr=False)
    gemini_model: str = "gemini-2.5-flash"
    gemini_temperature: float | None = 0.7
    local_model: str | None = None
    default_model: str | None = None
    llm_provider: str | None = None
    detect_local: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    retry: RetryConfig = field(default_factory=RetryConfig)
    max_event_bytes: int = MAX_EVENT_BYTES
    max_concurrent: int | None = None
    max_waiting: int = 50
    models: tuple[ModelConfig, ...] = ()
    file_default: str | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
