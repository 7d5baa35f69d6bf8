"""Opening: from a connection to a provider that is limited, retried and watched.

One for each connection with its sampling and its limit: rows that agree in them share connections,
limit and breaker. A function is not retried: to call it again is not for us to decide.
"""

from dataclasses import replace

from parley.chat.models import Sampling
from parley.chat.ports import Provider
from providers.config import Connection, ModelConfig, ProvidersConfig
from providers.dialects import DIALECTS, open_dialect
from providers.function import FunctionProvider
from providers.health import Watched
from providers.limited import LimitConfig, Limited
from providers.plugins import installed, open_installed
from providers.retrying import Retrying


class Opening:
    """Opens providers, each once."""

    def __init__(self, config: ProvidersConfig) -> None:
        """Open what `config` knows."""
        self._config = config
        self._opened: dict[tuple[object, ...], Watched] = {}

    def provider(
        self, name: str, connection: Connection, row: ModelConfig | None = None
    ) -> Watched:
        """Give the provider `name` on this connection."""
        defaults = self.defaults(name, row)
        limit = row.max_concurrent if row and row.max_concurrent else self._config.max_concurrent
        place = (connection.base_url, connection.query, connection.api_key)
        key = (name, place, defaults, limit)
        if key not in self._opened:
            opened = self._open(name, connection, defaults)
            if limit is not None:
                opened = Limited(opened, self._limit(limit, connection.name, row))
            self._opened[key] = Watched(opened, connection)
        watched = self._opened[key]
        if row is not None:
            watched.rows.add(row.id)
        elif watched.rows:
            watched.no_row = connection.model_setting
        return watched

    async def aclose(self) -> None:
        """Close what was opened, where it does not come to a registry that does."""
        for provider in self._opened.values():
            await provider.aclose()

    def _open(self, name: str, connection: Connection, defaults: Sampling) -> Provider:
        if name in self._config.functions:
            return FunctionProvider(self._config.functions[name], connection, defaults)
        if name in DIALECTS:
            opened = open_dialect(name, connection, defaults)
        else:
            opened = open_installed(installed()[name], connection, defaults)
        return Retrying(opened, self._config.retry)

    def _limit(self, most: int, name: str, row: ModelConfig | None) -> LimitConfig:
        own = row is not None and row.max_concurrent is not None
        setting = f"models.{row.id}.max_concurrent" if row and own else "PROVIDER_MAX_CONCURRENT"
        return LimitConfig(most, self._config.max_waiting, name=name, setting=setting)

    def defaults(self, name: str, row: ModelConfig | None = None) -> Sampling:
        """How a provider draws answers where a turn does not say."""
        config = self._config
        sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature)
        if name == "gemini" and config.temperature is None:
            sampling = replace(sampling, temperature=config.gemini_temperature)
        if row is not None and row.max_tokens is not None:
            sampling = replace(sampling, max_tokens=row.max_tokens)
        if row is not None and row.temperature is not None:
            sampling = replace(sampling, temperature=row.temperature)
        return sampling
