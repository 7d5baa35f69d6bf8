"""Build: the environment as the config objects of each package."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from data_layer.database import DatabaseConfig
from data_layer.storage import Quota, StorageConfig
from parley import __version__
from parley.auth.header import HeaderConfig
from parley.auth.keys import Secret
from parley.auth.limits import LimitConfig
from parley.auth.oauth_config import OAuthConfig
from parley.auth.operators import Operators
from parley.auth.policy import Policy
from parley.chat.rounds import ToolUsage
from parley.chat.running import RunConfig
from parley.chat.runs import EngineConfig
from parley.chat.titles import TitleConfig
from parley.context.builder import ContextConfig
from parley.context.redis_address import read_redis_url
from parley.context.redis_store import RedisConfig
from parley.observability.logs import LogConfig
from parley.settings.allowances import limit_config
from parley.settings.environment import Environment, origin_of
from parley.settings.file import FileConfig, read_file
from parley.settings.identity_problems import has_identity
from parley.settings.oauth import oauth_providers, users_pay
from parley.settings.problems import ConfigurationError, Problem, examine_environment
from parley.settings.secret import kept_secret
from parley.surfaces.starters import Profile, Starter
from parley.tools.opening import ToolsConfig
from parley.tools.safe_http import HttpConfig
from providers.config import Deadlines, ProvidersConfig, RetryConfig

_SECRET_FILE = Path(".parley/secret")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the process serves."""

    host: str
    port: int
    environment: str
    public_url: str | None
    api_v1: str
    origins: frozenset[str]
    cors_allow_origins: tuple[str, ...]
    body_limit_bytes: int
    upload_limit: int
    # In all, of a user, and of the guests of one address.
    sockets: tuple[int, int, int]
    allow_guests: bool
    allow_sharing: bool
    operators: Operators
    in_space: bool
    sealed_context_s: int
    frame_ancestors: tuple[str, ...]
    image_hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """Who may call besides guests; `header` is None where no proxy says it."""

    providers: tuple[OAuthConfig, ...]
    header: HeaderConfig | None
    proxies: tuple[str, ...]
    policy: Policy
    admin_can_read: bool
    guest_days: int

    @property
    def is_configured(self) -> bool:
        """Whether people can prove who they are."""
        return bool(self.providers) or self.header is not None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    server: ServerConfig
    logs: LogConfig
    database: DatabaseConfig
    storage: StorageConfig
    providers: ProvidersConfig
    context: ContextConfig
    redis: RedisConfig | None
    engine: EngineConfig
    tools: ToolsConfig
    secret: Secret
    identity: IdentityConfig
    limits: LimitConfig
    starters: tuple[Starter, ...] = ()
    titles: TitleConfig | None = None
    profiles: tuple[Profile, ...] = ()


def load_config() -> Config:
    """Read environment and file; raises `ConfigurationError` with all that is wrong."""
    environment, problems = examine_environment()
    file, more = read_file(environment)
    if problems or more:
        raise ConfigurationError(problems + more)
    return Config(
        server=_server(environment),
        logs=LogConfig(environment.log_level, environment.log_format or _log_format(environment)),
        database=DatabaseConfig(
            environment.database_url,
            environment.database_pool_size,
            environment.database_timeout_seconds,
            environment.database_timeout_seconds,
        ),
        storage=StorageConfig(
            environment.storage_directory,
            environment.limit_upload_bytes,
            quota=Quota(environment.limit_kept_bytes),
        ),
        providers=_providers(environment, file),
        context=_context(environment),
        redis=_redis(environment),
        engine=_engine(environment),
        tools=_tools(environment, file),
        secret=Secret(
            environment.parley_secret or _kept_secret(_SECRET_FILE),
            environment.parley_secret_previous,
        ),
        identity=_identity(environment),
        limits=limit_config(environment, _expected_tokens(environment)),
        starters=file.starters,
        titles=TitleConfig() if environment.model_titles else None,
        profiles=file.profiles,
    )


def _kept_secret(path: Path) -> str:
    try:
        return kept_secret(path)
    except (OSError, ValueError) as error:
        mend = f"none can be kept in {path}: {error}. Set one, or mend or remove that file."
        raise ConfigurationError([Problem("PARLEY_SECRET", "", mend)]) from None


def _log_format(environment: Environment) -> Literal["console", "json"]:
    return "console" if environment.environment == "development" else "json"


def _server(environment: Environment) -> ServerConfig:
    public_url = environment.public_url
    if public_url is None and environment.space_host:
        public_url = f"https://{environment.space_host}"
    origins = {*environment.cors_allow_origins, *([origin_of(public_url)] if public_url else [])}
    return ServerConfig(
        host=environment.host,
        port=environment.port,
        environment=environment.environment,
        public_url=public_url,
        api_v1=environment.api_v1,
        origins=frozenset(origins),
        cors_allow_origins=environment.cors_allow_origins,
        body_limit_bytes=environment.limit_body_bytes,
        upload_limit=environment.limit_uploads,
        sockets=(
            environment.limit_sockets,
            environment.limit_sockets_per_user,
            environment.limit_guest_sockets,
        ),
        allow_guests=_allow_guests(environment),
        allow_sharing=environment.allow_sharing,
        operators=Operators(environment.local_model_offer, _is_for_oneself(environment)),
        in_space=environment.space_host is not None,
        sealed_context_s=environment.sealed_context_seconds,
        frame_ancestors=environment.frame_ancestors or _frame_ancestors(environment),
        image_hosts=environment.image_hosts,
    )


def _allow_guests(environment: Environment) -> bool:
    """Whether guests come in; nobody said so, then while nobody can sign in (problems.py)."""
    said = environment.allow_guests
    return not has_identity(environment) if said is None else said


def _is_for_oneself(environment: Environment) -> bool:
    """Whether nothing says that others use this server."""
    said = environment.public_url or environment.space_host or has_identity(environment)
    return environment.environment == "development" and not said


def _frame_ancestors(environment: Environment) -> tuple[str, ...]:
    # Hugging Face shows a Space's page in a frame of its own.
    return ("'self'", "https://huggingface.co") if environment.space_host else ("'self'",)


def _identity(environment: Environment) -> IdentityConfig:
    name = environment.auth_header_user
    return IdentityConfig(
        providers=oauth_providers(environment),
        header=HeaderConfig(name, environment.auth_header_secret) if name else None,
        proxies=environment.auth_header_trusted_proxies,
        policy=Policy(environment.auth_allowed, environment.auth_admins),
        admin_can_read=environment.admin_can_read,
        guest_days=environment.guest_days,
    )


def _providers(environment: Environment, file: FileConfig) -> ProvidersConfig:
    return ProvidersConfig(
        openai_api_key=environment.openai_api_key,
        openai_base_url=environment.openai_base_url,
        openai_model=environment.openai_model,
        tgi_base_url=environment.tgi_base_url,
        tgi_api_key=environment.tgi_api_key,
        hf_token=environment.hf_token,
        hf_by_users=users_pay(environment),
        hf_model=environment.hf_model,
        hf_provider=environment.hf_provider,
        gemini_api_key=environment.gemini_api_key,
        gemini_model=environment.gemini_model,
        gemini_temperature=environment.gemini_temperature,
        local_model=environment.local_model,
        default_model=environment.default_model,
        llm_provider=environment.llm_provider,
        detect_local=environment.detect_local_models,
        max_tokens=environment.max_tokens,
        temperature=environment.temperature,
        deadlines=Deadlines(
            environment.provider_connect_seconds,
            environment.provider_first_event_seconds,
            environment.provider_idle_seconds,
            environment.provider_total_seconds,
        ),
        retry=RetryConfig(
            retries=environment.provider_retries,
            retry_after_ceiling_s=environment.provider_retry_after_seconds,
            total_s=environment.provider_retry_seconds,
        ),
        max_event_bytes=environment.limit_provider_event_bytes,
        max_concurrent=environment.provider_max_concurrent,
        max_waiting=environment.provider_max_waiting,
        models=file.models,
        file_default=file.default_model,
        functions=file.functions,
    )


def _context(environment: Environment) -> ContextConfig:
    default = ContextConfig()
    return ContextConfig(
        history_tokens=environment.max_history_tokens,
        history_turns=environment.max_history_turns,
        history_messages=environment.max_history_messages,
        system_prompt=environment.system_prompt or default.system_prompt,
        answer_tokens=environment.max_tokens or default.answer_tokens,
    )


def _redis(environment: Environment) -> RedisConfig | None:
    if environment.redis_url is None:
        return None
    return RedisConfig(
        read_redis_url(environment.redis_url),
        environment.redis_ttl_seconds,
        environment.redis_timeout_seconds,
    )


def _tools(environment: Environment, file: FileConfig) -> ToolsConfig:
    names = environment.tools
    return ToolsConfig(
        names=None if names is None else frozenset(names) - {"none"},
        http=HttpConfig(
            limit_bytes=environment.limit_page_bytes,
            ports=frozenset((80, 443, *environment.tool_ports)),
            networks=environment.tool_networks,
            user_agent=f"Parley/{__version__}",
        ),
        searxng_url=environment.searxng_url,
        brave_key=environment.brave_api_key,
        tavily_key=environment.tavily_api_key,
        robots=environment.tool_robots,
        plugins=file.tools,
    )


def _expected_tokens(environment: Environment) -> int:
    """Say what a turn takes beside its message: the history that it sees, and an answer."""
    answer = environment.max_tokens or ContextConfig().answer_tokens
    return (environment.max_history_tokens or 0) + answer


def _engine(environment: Environment) -> EngineConfig:
    return EngineConfig(
        # New at each start: what an earlier process left behind is known by its other id.
        replica_id=f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
        run=RunConfig(
            # Chunks that are to be seen one by one are not put together.
            window_s=0 if environment.time_between_chunks else environment.stream_flush_ms / 1000,
            answer_limit_chars=environment.limit_answer_chars,
            tools=ToolUsage(rounds=environment.max_tool_rounds),
        ),
        message_limit_bytes=environment.limit_message_bytes,
        carries_on=environment.redis_url is not None,
        pace_s=environment.time_between_chunks,
        image_limit_bytes=environment.limit_image_bytes,
        running_limit=environment.limit_running_turns,
        queued_limit=environment.limit_queued_turns,
    )
