"""Environment: every setting, with its names, default and meaning.

docs/settings.md is made from this class (docs.py), and .env.example is checked against it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from data_layer.address import UnusableParameter, normalise_url
from parley.context.redis_address import read_redis_url
from parley.context.redis_client import TIMEOUT_S
from parley.settings.allowances import AllowanceEnvironment
from parley.settings.identity import SECRET, IdentityEnvironment, WebUrl, comma_separated, web_url
from parley.tools.addresses import Network, read_networks


def _database_url(value: str) -> str:
    try:
        normalise_url(value)
    except UnusableParameter:
        raise
    except ValueError:
        # Not its own words: they may quote a piece of the password.
        raise ValueError(
            "not a URL of SQLite or PostgreSQL; @ : / ? # in a password are written as %40 %3A ..."
        ) from None
    return value


def _redis_url(value: str) -> str:
    read_redis_url(value)
    return value


def origin_of(url: str) -> str:
    """Give the origin of a URL as browsers write it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


# What paths begin with that are not the REST API's.
_DOORS = re.compile(
    "/(account|assets|auth|avatars|chat|copilot|docs|favicon|feedback|files|health|livez|login"
    "|logo|logout|mcp|metrics|openapi.json|page|playground|project|public|readyz|redoc"
    "|set-session-cookie|thread|user|v1|ws)(/|$)"
)


def _path_prefix(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("write a path such as /api/v1, with a slash before it and none after")
    if _DOORS.match(value):
        raise ValueError("something else is there already; write a path such as /api/v1")
    return value


def _origins(value: Sequence[str]) -> tuple[str, ...]:
    if "*" in value:
        raise ValueError("* would let every site act with its visitors' cookies; name the origins")
    if any(urlsplit(web_url(origin)).path for origin in value):
        raise ValueError("an origin has no path: https://host or https://host:port")
    return tuple(map(origin_of, value))


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _names(*names: str) -> AliasChoices:
    return AliasChoices(*names)


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return read_networks(value)
    except ValueError:
        raise ValueError("not networks, comma-separated: 10.1.0.0/16, fd00:1::/64") from None


Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
ToolNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_separated)]
Ports = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535)], ...], NoDecode, BeforeValidator(comma_separated)
]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(comma_separated), AfterValidator(_origins)
]


class Environment(IdentityEnvironment, AllowanceEnvironment):
    """What the environment says; empty values and unknown names are ignored."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in values.items() if not (isinstance(v, str) and v.isspace())}

    environment: Annotated[Literal["development", "production"], BeforeValidator(_lower)] = Field(
        "development", description="Production wants secrets and identity spelled out."
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on.")
    public_url: WebUrl | None = Field(
        None,
        validation_alias=_names("PUBLIC_URL", "CHAINLIT_URL"),
        description="The address people use: https makes cookies secure. Once it is set, pages may write"
        " under this address, localhost and IP addresses only, not under another name.",
    )
    cors_allow_origins: Origins = Field(
        (), description="Other sites whose pages may call the API, comma-separated."
    )
    api_v1: Annotated[str, AfterValidator(_path_prefix)] = Field(
        "/api/v1", description="Where the REST API begins."
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = Field("INFO", description="How much is logged.")
    log_format: Annotated[Literal["console", "json"] | None, BeforeValidator(_lower)] = Field(
        None, description="Form of the logs; by default console in development, else json."
    )

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite+aiosqlite:///./.parley/parley.db",
        json_schema_extra=SECRET,
        description="SQLite, or postgresql+asyncpg://user:password@host/name?sslmode=verify-full;"
        " libpq's TLS parameters are understood.",
    )
    database_pool_size: Count = Field(
        5, description="Connections to PostgreSQL, as many again under load; readers of SQLite."
    )
    database_timeout_seconds: float = Field(
        5.0,
        gt=0,
        le=600,
        description="How long a connection, a statement or a lock may take. A migration has 600.",
    )

    storage_directory: Path = Field(
        Path(".parley/files"), description="Where the files of conversations are kept."
    )

    parley_secret: str | None = Field(
        None,
        validation_alias=_names("PARLEY_SECRET", "CHAINLIT_AUTH_SECRET"),
        json_schema_extra=SECRET,
        description="Signs cookies; by default made on the first run and kept in .parley/.",
    )
    parley_secret_previous: str | None = Field(
        None,
        json_schema_extra=SECRET,
        description="The secret before, for rotation: its guests and conversations are still known.",
    )
    allow_sharing: bool = Field(
        False,
        description="Users may share a conversation: whoever is let in and has its link reads it.",
    )
    openai_api_key: str | None = Field(
        None, json_schema_extra=SECRET, description="Key of OpenAI or of what speaks its dialect."
    )
    openai_base_url: WebUrl | None = Field(
        None,
        validation_alias=_names("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        description="An OpenAI-compatible server (vLLM, Ollama, llama.cpp); needs no key.",
    )
    openai_model: str | None = Field(
        None, description="By default gpt-4o-mini at OpenAI, elsewhere the server's first model."
    )
    tgi_base_url: WebUrl | None = Field(
        None,
        validation_alias=_names("TGI_BASE_URL", "INFERENCE_SERVER_URL"),
        description="A text-generation-inference server, through its Messages API.",
    )
    tgi_api_key: str | None = Field(None, json_schema_extra=SECRET, description="Its key.")
    hf_token: str | None = Field(
        None,
        validation_alias=_names("HF_TOKEN", "HF_API_KEY", "HUGGINGFACE_API_KEY"),
        json_schema_extra=SECRET,
        description="Token of Hugging Face, for its Inference Providers.",
    )
    hf_model: str | None = Field(
        None,
        validation_alias=_names("HF_MODEL", "MODEL_ID"),
        description="By default a small instruct model.",
    )
    hf_provider: str = Field(
        "auto", description="The inference provider; auto lets the Hub choose."
    )
    gemini_api_key: str | None = Field(None, json_schema_extra=SECRET, description="Google's key.")
    gemini_model: str = Field("gemini-2.5-flash", description="The model of Gemini.")
    gemini_temperature: float = Field(
        0.7, ge=0, le=2, description="Sampling of Gemini, where TEMPERATURE is not set."
    )
    local_model: str | None = Field(
        None,
        description="A GGUF that Parley serves itself: a path, or org/repo:file.gguf"
        " (docs/local-models.md).",
    )
    local_model_offer: bool | None = Field(
        None,
        description="While no model is connected, everyone in the page may have a small one fetched"
        " to this machine (386 MB); false: nobody. By default administrators, and where nobody can"
        " sign in and PUBLIC_URL is not set, a browser of this machine itself.",
    )
    parley_config: Path | None = Field(
        None,
        description="Models, fallbacks, plug-ins and starters as a file (docs/models.md);"
        " by default parley.toml, where there is one.",
    )
    default_model: str | None = Field(
        None, description="provider:model; by default the first that is configured or found."
    )
    llm_provider: str | None = Field(None, description="The provider alone, for DEFAULT_MODEL.")
    detect_local_models: bool = Field(
        True, description="Look for Ollama, LM Studio, llama.cpp and TGI on this machine."
    )
    max_tokens: Count | None = Field(None, description="Length of an answer.")
    temperature: float | None = Field(None, ge=0, le=2, description="Sampling.")
    system_prompt: str | None = Field(None, description="What every model is told first.")
    model_titles: bool = Field(
        True,
        description="A new conversation gets a title from its model, which is one more short call;"
        " false: its first words.",
    )

    provider_connect_seconds: Seconds = Field(5.0, description="Until a model server accepts.")
    provider_first_event_seconds: Seconds = Field(
        120.0, description="From the request to the first event of an answer."
    )
    provider_idle_seconds: Seconds = Field(
        60.0, description="Between two events of an answer; keepalives are none."
    )
    provider_total_seconds: Seconds = Field(900.0, description="For a whole answer.")
    provider_retries: int = Field(
        2, ge=0, le=20, description="Tries after the first, while nothing of the answer was heard."
    )
    provider_retry_seconds: float = Field(
        60.0, ge=0, le=3600, description="No further try begins later than this after the first."
    )
    provider_retry_after_seconds: float = Field(
        20.0,
        ge=0,
        le=3600,
        description="How long a provider may ask to be left alone; where it asks for more, the call fails.",
    )
    provider_max_concurrent: Count | None = Field(
        None,
        description="Answers that one provider writes at a time; by default as many as asked for.",
    )
    provider_max_waiting: int = Field(
        50,
        ge=0,
        description="How many more may wait for their turn, and not longer than 30 seconds.",
    )
    tools: ToolNames | None = Field(
        None,
        description="Tools that models may call, comma-separated; by default all there are"
        " (web_search, read_page, those of plug-ins). none: none (docs/tools.md).",
    )
    searxng_url: WebUrl | None = Field(
        None, description="A SearXNG server for web_search; JSON must be on there."
    )
    brave_api_key: str | None = Field(
        None, json_schema_extra=SECRET, description="Key of Brave's search, for web_search."
    )
    tavily_api_key: str | None = Field(
        None, json_schema_extra=SECRET, description="Key of Tavily's search, for web_search."
    )
    tool_robots: bool = Field(True, description="read_page asks a site's robots.txt first.")
    tool_ports: Ports = Field((), description="Ports that read_page may use beside 80 and 443.")
    tool_networks: Networks = Field(
        (),
        description="Private networks that read_page may reach, comma-separated (10.1.0.0/16).",
    )
    limit_page_bytes: Count = Field(
        2 * 1024 * 1024, description="Size of a page that a tool reads."
    )
    max_tool_rounds: Count = Field(8, description="How often an answer may call tools.")

    max_history_tokens: Count | None = Field(
        4000, description="Tokens of earlier turns that the model sees."
    )
    max_history_turns: Count | None = Field(
        20, description="Earlier turns that the model sees; the smallest limit wins."
    )
    max_history_messages: Count | None = Field(
        None, description="Earlier messages that the model sees."
    )
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        None,
        validation_alias=_names("REDIS_URL", "REDIS_OM_URL"),
        json_schema_extra=SECRET,
        description="Redis 6.2 or later for active contexts, which are in memory without it."
        " Also rediss://, unix:// and redis+sentinel://host1:26379,host2:26379/mymaster/0.",
    )
    redis_ttl_seconds: int = Field(
        24 * 60 * 60,
        ge=1,
        le=10 * 365 * 24 * 60 * 60,
        description="How long Redis keeps a context that nobody uses.",
    )
    redis_timeout_seconds: float = Field(
        TIMEOUT_S,
        gt=0,
        le=60,
        description="How long a command of Redis may take, before Parley goes on without it for a while:"
        " more where it is far away.",
    )
    stream_flush_ms: int = Field(
        20, ge=0, le=1000, description="Text within this window is one event; 0: one per chunk."
    )

    time_between_chunks: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Seconds between two pieces of an answer, for whoever reads it live; each chunk of the provider"
        " is one. 0: as fast as they come.",
    )
    sealed_context_seconds: int = Field(
        7 * 24 * 60 * 60,
        ge=1,
        le=365 * 24 * 60 * 60,
        description="How long the context of a stateless chat holds, which its caller keeps.",
    )

    limit_message_bytes: Count = Field(64 * 1024, description="Size of a message.")
    limit_image_bytes: Count = Field(
        5 * 1024 * 1024, description="Size of the images of a message that a model sees, together."
    )
    limit_body_bytes: Count = Field(1024 * 1024, description="Size of a request's body.")
    limit_upload_bytes: Count = Field(50 * 1024 * 1024, description="Size of a file.")
    limit_uploads: Count = Field(8, description="Files being received at once, per process.")
    limit_kept_bytes: Count = Field(
        1024 * 1024 * 1024, description="Size of all files that are kept, per user."
    )
    limit_answer_chars: Count = Field(1024 * 1024, description="Length of an answer.")
    limit_provider_event_bytes: int = Field(
        4 * 1024 * 1024,
        ge=64 * 1024,
        description="Size of one event of a model server, or of an answer in one document.",
    )
    limit_running_turns: Count = Field(
        10,
        description="Answers being written, per user, in all processes; those not kept: in each.",
    )
    limit_queued_turns: Count = Field(50, description="Messages waiting, per user.")
    limit_sockets: Count = Field(1000, description="Open pages and sockets, per process.")
    limit_sockets_per_user: Count = Field(
        20, description="Open pages and sockets, per user and process."
    )
    limit_guest_sockets: Count = Field(
        100, description="The same for all guests of one address but this machine's own."
    )


def setting_names(field_name: str) -> list[str]:
    """Give the names of a setting, the one that docs use first."""
    alias: Any = Environment.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [field_name.upper()]


def is_secret(field_name: str) -> bool:
    """Whether the setting's value must never be shown."""
    return Environment.model_fields[field_name].json_schema_extra == SECRET
