"""Standard: the connections that the environment describes, and what a row of the file makes of one.

A key goes where its provider is and nowhere else: with a base URL of its own a row of
`parley.toml` has the key that it names itself, or none.
"""

from dataclasses import replace

from providers.config import Connection, ModelConfig, Offer, ProvidersConfig
from providers.embedded import local_connection
from providers.openai_compatible import OPENAI_BASE_URL, OPENAI_DEFAULT_MODEL, base_url
from providers.references import model_name

HF_DEFAULT_MODEL = "Qwen/Qwen2.5-7B-Instruct"

_SIGN_IN = "HF_TOKEN, or sign in with Hugging Face"

# The variables whose keys belong to one provider; what a row needs where it says nothing itself.
KEY_SETTINGS = {
    "openai": "OPENAI_API_KEY",
    "tgi": "TGI_API_KEY",
    "huggingface": "HF_TOKEN",
    "gemini": "GEMINI_API_KEY",
}


def offers(config: ProvidersConfig) -> list[Offer]:
    """What the environment configures, in fixed order."""
    found = []
    if config.openai_api_key or config.openai_base_url:
        setting = "OPENAI_API_KEY" if config.openai_api_key else "OPENAI_BASE_URL"
        found.append(_offer("openai", f"{setting} is set", config))
    if config.tgi_base_url:
        found.append(_offer("tgi", "TGI_BASE_URL is set", config))
    if config.hf_token or config.hf_by_users:
        reason = "HF_TOKEN is set" if config.hf_token else "people sign in with Hugging Face"
        found.append(_offer("huggingface", reason, config))
    if config.gemini_api_key:
        found.append(_offer("gemini", "GEMINI_API_KEY is set", config))
    if config.local_model:
        found.append(_offer("local", "LOCAL_MODEL is set", config))
    return found


def _offer(name: str, reason: str, config: ProvidersConfig) -> Offer:
    return Offer(standard(name, config), default_model(name, config), reason, name)


def default_model(name: str, config: ProvidersConfig, at: str | None = None) -> str | None:
    """The model of a provider where nobody named one; None for the first of its server's list."""
    if name == "openai":
        elsewhere = at or config.openai_base_url
        named = None if at else config.openai_model
        return named or (None if elsewhere else OPENAI_DEFAULT_MODEL)
    models = {
        "tgi": "tgi",
        # An endpoint has one model, and takes TGI's name for it.
        "huggingface": "tgi" if at else config.hf_model or HF_DEFAULT_MODEL,
        "gemini": config.gemini_model,
        "local": model_name(config.local_model) if config.local_model else None,
    }
    return models.get(name)


def standard(name: str, config: ProvidersConfig) -> Connection:
    """Give the connection of a provider as the environment has it."""
    connection = _CONNECTIONS[name](config) if name in _CONNECTIONS else Connection(name, "")
    return bounded(connection, config)


def bounded(connection: Connection, config: ProvidersConfig) -> Connection:
    """Give a connection the deadlines and limits of the environment."""
    return replace(
        connection,
        deadlines=config.deadlines,
        max_event_bytes=config.max_event_bytes,
        deadline_setting="PROVIDER_{}_SECONDS",
        event_setting="LIMIT_PROVIDER_EVENT_BYTES",
    )


def of_row(row: ModelConfig, config: ProvidersConfig) -> Connection:
    """Give the connection of a row of the file: its own, or its provider's standard one."""
    here = f"models.{row.id}"
    connection = replace(standard(row.provider, config), model_setting=f"{here}.model")
    if row.provider == "local" and row.model:
        connection = replace(connection, base_url=row.model)
    if row.base_url:
        connection = replace(
            connection,
            api_key=None,
            url_setting=f"{here}.base_url",
            key_setting=f"{here}.api_key_env",
        )
        # What a plug-in is given is its own affair.
        ours = row.provider in KEY_SETTINGS
        connection = (
            _at(row.base_url, connection) if ours else replace(connection, base_url=row.base_url)
        )
        if row.provider == "tgi":
            connection = replace(connection, base_url=_tgi_url(connection.base_url))
    if row.api_key:
        setting = row.api_key_env or f"{here}.api_key_env"
        connection = replace(connection, api_key=row.api_key, key_setting=setting)
    return connection


def _at(url: str, connection: Connection) -> Connection:
    """Give a connection this address; its query comes behind the paths that are added to it."""
    address, _, query = url.strip().partition("#")[0].partition("?")
    return replace(connection, base_url=address, query=query)


def _openai(config: ProvidersConfig) -> Connection:
    connection = Connection(
        "openai",
        "",
        config.openai_api_key,
        key_setting="OPENAI_API_KEY",
        url_setting="OPENAI_BASE_URL",
        model_setting="OPENAI_MODEL",
    )
    return _at(config.openai_base_url or OPENAI_BASE_URL, connection)


def _tgi(config: ProvidersConfig) -> Connection:
    connection = Connection(
        "tgi",
        "",
        config.tgi_api_key,
        key_setting="TGI_API_KEY",
        url_setting="TGI_BASE_URL",
        model_setting="DEFAULT_MODEL",
    )
    connection = _at(config.tgi_base_url or "", connection)
    return replace(connection, base_url=_tgi_url(connection.base_url))


def _tgi_url(url: str) -> str:
    return base_url(url).removesuffix("/v1") + "/v1"


# The dialects of Hugging Face and Gemini know their own addresses.
def _huggingface(config: ProvidersConfig) -> Connection:
    return Connection(
        "huggingface",
        "",
        config.hf_token,
        options={"provider": config.hf_provider},
        key_setting=_SIGN_IN if config.hf_by_users else "HF_TOKEN",
        url_setting=_way("router.huggingface.co"),
        model_setting="HF_MODEL" if config.hf_provider == "auto" else "HF_MODEL, HF_PROVIDER",
    )


def _way(host: str) -> str:
    """What there is to check where no setting says the address."""
    return f"the way to {host}"


def _gemini(config: ProvidersConfig) -> Connection:
    return Connection(
        "gemini",
        "",
        config.gemini_api_key,
        key_setting="GEMINI_API_KEY",
        url_setting=_way("generativelanguage.googleapis.com"),
        model_setting="GEMINI_MODEL",
    )


def _local(config: ProvidersConfig) -> Connection:
    return local_connection(config.deadlines, config.local_model)


_CONNECTIONS = {
    "openai": _openai,
    "tgi": _tgi,
    "huggingface": _huggingface,
    "gemini": _gemini,
    "local": _local,
}
