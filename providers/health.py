"""Health: how a provider is doing, remembered; and a circuit breaker for one that is gone.

A provider that was not reached several times in a row is left alone for a while: calls fail at
once instead of waiting for a deadline each. Then one call tries it again, and its outcome decides.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parley.chat.deltas import Delta
from parley.chat.errors import Overloaded, ProviderError, TimedOut, Unreachable
from parley.chat.models import CompletionRequest, Health, HealthState, ModelInfo, Tokenizer
from parley.chat.ports import Provider
from parley.observability.logs import get_logger
from providers.config import Connection
from providers.primed import Primed, primed

logger = get_logger(__name__)

_NOT_THERE = ("connect", "first_event")


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker opens, and for how long: doubled each time that it was in vain."""

    failures: int = 3
    open_s: float = 10.0
    most_open_s: float = 120.0


class Breaker:
    """Counts failures in a row; open, it lets nobody through but one who tries after a while."""

    def __init__(self, config: BreakerConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._failures = 0
        self._wait_s = config.open_s
        self._closed_at = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether calls are kept back, all or all but one."""
        return self._failures >= self._config.failures

    @property
    def wait_s(self) -> float:
        """How long until somebody may try again."""
        return max(0.0, self._closed_at - self._clock())

    def enter(self) -> bool:
        """Say whether a call may go through; while open, the one that may is on its trial."""
        if not self.open:
            return True
        if self._trying or self.wait_s > 0:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """Close: the provider answered, be it with a refusal."""
        self._failures, self._wait_s, self._trying = 0, self._config.open_s, False

    def failed(self) -> None:
        """Count a failure; open at the limit, and for longer after a trial in vain."""
        if self._trying:
            self._wait_s = min(self._wait_s * 2, self._config.most_open_s)
        self._failures += 1
        self._trying = False
        self._closed_at = self._clock() + self._wait_s

    def left(self) -> None:
        """End a trial, also one that was given up before anything was known."""
        self._trying = False


class Watched:
    """A `Provider` behind a breaker, whose health is remembered."""

    def __init__(
        self, provider: Provider, connection: Connection, config: BreakerConfig | None = None
    ) -> None:
        """Watch `provider`; nothing is asked yet."""
        self.provider = provider
        self.connection = connection
        self.known: Health | None = None
        self.known_at = 0.0
        # The rows of `parley.toml` that lead here, and what names the model of those that are none,
        # where the first that led here is a row.
        self.rows: set[str] = set()
        self.no_row = ""
        self._breaker = Breaker(
            config or BreakerConfig(), lambda: asyncio.get_running_loop().time()
        )

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Stream one completion, or fail at once with `Unreachable` while the breaker is open."""
        on_trial = self._breaker.open
        if not self._breaker.enter():
            raise self._kept_back()
        try:
            async with self.provider.stream(request) as deltas:
                answer = await primed(deltas)
                if isinstance(answer, Primed):
                    self._answered()
                yield answer
        except ProviderError as error:
            self._told(error)
            self._name_row(error, request.model_id)
            raise
        finally:
            if on_trial:
                self._breaker.left()

    async def models(self) -> Sequence[ModelInfo]:
        """List what the provider offers; raises `ProviderError`."""
        return await self.provider.models()

    async def health(self) -> Health:
        """Ask the provider, and remember what it said; while it is left alone it is down."""
        health = await self.provider.health()
        if self._breaker.open and self._breaker.wait_s > 0:
            health = Health.after(self._kept_back())
        self._remember(health)
        return health

    def silent(self) -> None:
        """Remember that the provider did not say in time how it is doing."""
        self._remember(Health(HealthState.DOWN, f"{self.connection.name} did not answer in time."))

    def known_of(self, model_id: str) -> Health | None:
        """Say what is known, with the settings of this row, which may not be the first that led here."""
        if self.known is None:
            return None
        said = (self.known.reason, self.known.for_log, self.known.for_operator)
        return Health(self.known.state, *(self._named(one, model_id) for one in said))

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the tokenizer of a model."""
        return self.provider.tokenizer(model)

    async def aclose(self) -> None:
        """Close the provider."""
        await self.provider.aclose()

    def _answered(self) -> None:
        """Remember by the first delta that the provider is there."""
        self._breaker.succeeded()
        # Of what is degraded for another reason, an answer says nothing new.
        if self.known is not None and self.known.state is HealthState.DOWN:
            self._remember(Health(HealthState.OK))

    def _told(self, error: ProviderError) -> None:
        if isinstance(error, Overloaded) and error.upstream_status is None:
            self._breaker.left()  # our own limit, perhaps: it says nothing of the provider
            return
        if not _not_there(error):
            self._breaker.succeeded()
            return
        was_open = self._breaker.open
        self._breaker.failed()
        self._remember(Health.after(error))
        if self._breaker.open and not was_open:
            name, kind = self.connection.name, type(error).__name__
            logger.warning("provider left alone", provider=name, error=kind)

    def _name_row(self, error: ProviderError, model_id: str) -> None:
        """Have an error name the settings of the row that was asked, not of the first that led here."""
        error.message = self._named(error.message, model_id)
        error.for_log = self._named(error.for_log, model_id)
        error.for_operator = self._named(error.for_operator, model_id)

    def _named(self, said: str, model_id: str) -> str:
        """Write a row's settings in place of the first one's, or without a row the environment's."""
        setting = self.connection.model_setting
        if model_id in self.rows:
            return said.replace(setting.removesuffix("model"), f"models.{model_id}.")
        return said.replace(setting, self.no_row or setting)

    def _remember(self, health: Health) -> None:
        was_down = self.known is not None and self.known.state is HealthState.DOWN
        if health.state is HealthState.DOWN and not was_down:
            told = health.for_log or health.reason
            logger.warning("provider is down", provider=self.connection.name, reason=told)
        self.known, self.known_at = health, asyncio.get_running_loop().time()

    def _kept_back(self) -> Unreachable:
        name, wait_s = self.connection.name, max(1.0, self._breaker.wait_s)
        return Unreachable(
            f"{name} could not be reached several times and is left alone for {wait_s:.0f} seconds."
            f" Try again then, or choose another model; check {self.connection.url_setting}.",
            provider=name,
            retry_after_s=wait_s,
        )


def _not_there(error: ProviderError) -> bool:
    if error.streamed:
        return False
    return isinstance(error, Unreachable) or (
        isinstance(error, TimedOut) and error.phase in _NOT_THERE
    )
