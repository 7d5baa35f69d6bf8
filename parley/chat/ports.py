"""Ports: what the engine needs from the outside, as Protocols that adapters fulfil."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from parley.chat.deltas import Delta
from parley.chat.events import Event
from parley.chat.messages import Message
from parley.chat.models import (
    CompletionRequest,
    Health,
    ModelInfo,
    Sampling,
    Tokenizer,
    Toolbox,
    ToolSpec,
)
from parley.chat.news import News
from parley.chat.ownership import Look, Orphan
from parley.chat.tools import ToolResult
from parley.chat.turns import Answer, Begun, Context, ContextRecord, Exchange, Extras, NewTurn, Turn


class Provider(Protocol):
    """How a model is reached."""

    def stream(
        self, request: CompletionRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Stream one completion in the grammar of deltas.py, or raise one `ProviderError`.

        Leaving the context manager closes the upstream connection, on every path.
        """
        ...

    async def models(self) -> Sequence[ModelInfo]:
        """List what the provider offers; raises `ProviderError`."""
        ...

    async def health(self) -> Health:
        """Say how the provider is doing; never raises."""
        ...

    def tokenizer(self, model: str) -> Tokenizer | None:
        """Give the tokenizer of a model, by its upstream name; None where none is at hand."""
        ...

    async def aclose(self) -> None:
        """Close pooled connections."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model id leads: the provider and the name that it knows the model by."""

    info: ModelInfo
    provider: Provider
    upstream_model: str
    fallbacks: tuple[str, ...] = ()
    # How answers are drawn where a turn does not say.
    defaults: Sampling = field(default_factory=Sampling)
    # Parley's tools that the model may use; None for all that are on.
    tools: tuple[str, ...] | None = None
    # What this model is told first, where a turn does not say.
    system_prompt: str | None = None


class Catalogue(Protocol):
    """Which models are configured, and where a model id leads."""

    def resolve(self, model_id: str | None) -> Route:
        """Find the route of a model id, of the default for None; raises `UnknownModel`."""
        ...

    async def renewed(self, route: Route) -> Route | None:
        """Find where a route leads by now whose model is missing; None where nothing has changed.

        That of a server that has whichever model it was started with; it is asked.
        """
        ...

    def models(self) -> Sequence[ModelInfo]:
        """List the configured models, the default first."""
        ...


class TurnStore(Protocol):
    """What is kept of turns. Every statement carries the owner or the turn's fence.

    All methods raise `StorageUnavailable` where the database cannot be reached.
    """

    async def begin(self, new: NewTurn) -> Begun:
        """Write the user's step and the turn, running or queued, in one transaction.

        The same key again gives the turn that has it (`created` is False). Raises `Conflict`
        for the same key with another digest, `NotFound` for a thread of someone else or a deleted
        one and for a turn to replace that is not in the thread, `RateLimited` for a queue that is
        full, or for a turn that would run and may not.
        """
        ...

    async def choose_branch(self, owner_id: str, thread_id: str, turn_id: str) -> str:
        """Make the newest turn that came out of `turn_id` the thread's head, and name it.

        What is shown, and what the next turn sees, is the branch that ends there. Raises
        `NotFound`.
        """
        ...

    async def checkpoint(self, turn: Turn, answer: Answer) -> None:
        """Save what is there of the answer, and its receipt where one is given.

        Raises `StaleFence` if the turn has another owner.
        """
        ...

    async def finish(self, turn: Turn, answer: Answer) -> Turn | None:
        """Save the end in one transaction and give the next queued turn, now running.

        The same end again is answered like the first time: its caller may not have heard of it.
        A turn that was begun since is not given: it runs already.
        Raises `StaleFence` if the turn has another owner, is over otherwise, or was deleted.
        """
        ...

    async def request_stop(self, owner_id: str, turn_id: str) -> Turn:
        """Set the stop flag; a queued turn ends as stopped at once. Raises `NotFound`.

        Gives the turn as it is then.
        """
        ...

    async def turn(self, owner_id: str, turn_id: str) -> Turn:
        """Read a turn of this owner; raises `NotFound`."""
        ...

    async def turn_of_step(self, owner_id: str, step_id: str) -> str:
        """Name the turn of this owner that a step belongs to; raises `NotFound`."""
        ...

    async def running(self, owner_id: str, thread_id: str) -> Turn | None:
        """Read the thread's running turn, if one runs."""
        ...

    async def live(self, owner_id: str, thread_id: str) -> Sequence[Turn]:
        """Read what runs in the thread and what waits there, in order of arrival."""
        ...

    async def owns_thread(self, owner_id: str, thread_id: str) -> bool:
        """Say whether this owner has such a thread, not deleted."""
        ...

    async def history(
        self, owner_id: str, turn_id: str, limit: int, limit_chars: int
    ) -> Sequence[Exchange]:
        """Read the newest turns of the branch that ends in `turn_id`, oldest first.

        At most `limit` that were answered, at most `most_walked(limit)` in all, and as many as
        have together at most `limit_chars` characters.
        """
        ...

    async def exchanges(self, owner_id: str, turn_ids: Sequence[str]) -> Sequence[Exchange]:
        """Read these turns of the owner, in any order; what is not there is left out."""
        ...


class Ownership(Protocol):
    """Whose a running turn is: this replica's own, and those of replicas that are dead.

    All methods raise `StorageUnavailable` where the database cannot be reached.
    """

    @property
    def is_fresh(self) -> bool:
        """Whether this process was not frozen for a while until just now.

        If it was, what it believes to own may be another's, and it shows nothing more of it until
        it has looked.
        """
        ...

    async def look(self) -> Look:
        """Read what this replica owns, and what nobody does; to be done every half second."""
        ...

    async def take_over(self, orphan: Orphan) -> Turn | None:
        """Own an orphan from now on, with the next fence; None where another was faster."""
        ...

    async def has_heirs(self) -> bool:
        """Whether another replica lives that would carry on with what this one leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """What there is of a turn's log: its events from the first one on, or none.

    `is_whole` says that no reader has seen more. Without, what wrote them is away, and they are
    what this process has read before that.
    """

    events: Sequence[Event] = ()
    is_whole: bool = False


class TurnLog(Protocol):
    """What is happening right now: the events of running turns, in order."""

    def begin(self, turn_id: str, *, shared: bool = True) -> None:
        """Write the turn here from now on; one that is not `shared` is read here alone."""
        ...

    def append(self, turn_id: str, events: Sequence[Event]) -> None:
        """Add events; readers get them once the log has them. Never blocks."""
        ...

    def holds(self, turn_id: str) -> bool:
        """Say whether the turn's events are written here, from its first one on."""
        ...

    def follow(self, turn_id: str, after: int, *, merge: bool = True) -> AsyncGenerator[Event]:
        """Replay the events with a seq above `after`, go on live, end after `Done`.

        A cursor that the log cannot resolve is answered by a `Snapshot`. With `merge`, a reader
        that falls behind gets fewer, longer text events. Never slows the producer. Of a turn that
        is not written here it may end before `Done`, where nothing is heard of the turn for a
        while: then the rows say what is true, and it may be followed again.
        """
        ...

    async def claim(self, turn_id: str, fence: int) -> Claimed:
        """Write the turn's log from now on, as its owner with this fence.

        Gives what is there of it. What an owner with a lower fence still writes reaches no reader
        any more.
        """
        ...

    async def failed(self) -> None:
        """Wait until readers here were shown what no other process can read, or could lose."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether what other processes write can be read here, as far as is known."""
        ...

    def withdraw(self, turn_id: str) -> None:
        """Let nothing more of the turn out that others could read, also not what waits to go."""
        ...

    async def leave(self, turn_id: str) -> None:
        """Write the turn's log no more: it goes on elsewhere, and so does whoever reads it here.

        Returns when what was appended is where others can read it, if it can be.
        """
        ...

    def forget(self, turn_id: str) -> None:
        """Let the log of a finished turn expire; whoever reads it now reads on to its end."""
        ...


class Announcements(Protocol):
    """What begins and ends in which thread, told to every process that has it open."""

    def announce(self, news: News) -> None:
        """Tell it to whoever listens, here and elsewhere. Never blocks; it may get lost."""
        ...

    def listening(self, *of: str | None) -> AbstractContextManager[AsyncIterator[News | None]]:
        """Give the news of these, from now on and without an end.

        Of a thread, by its id, the turns; of an owner the names of threads; of None all turns.
        None instead of news: some may have been missed, the rows say what is true.
        """
        ...


@dataclass(frozen=True, slots=True)
class Live:
    """What is happening right now; see each port."""

    log: TurnLog
    announcements: Announcements


class ContextStore(Protocol):
    """The active context of threads: fast, and never the only home of anything."""

    async def load(self, thread_id: str) -> ContextRecord | None:
        """Read the record; None where there is none, or no store can be reached."""
        ...

    async def save(self, thread_id: str, record: ContextRecord) -> None:
        """Keep the record for a while; failing to is no error."""
        ...

    async def forget(self, thread_ids: Sequence[str]) -> bool:
        """Forget these threads, which were deleted; False where the store cannot be reached."""
        ...


class ContextBuilder(Protocol):
    """What does the model get to see?"""

    async def build(
        self,
        turn: Turn,
        route: Route,
        toolbox: Toolbox | None = None,
        said: Sequence[Message] = (),
    ) -> Context:
        """Window the branch that ends in the turn; raises `ContextTooLong`.

        Without a `toolbox` there are the caller's own tools only; `said` is what there is of the
        turn's own answer.
        """
        ...

    def shortened(self, built: Context, max_tokens: int) -> Context:
        """Give the same context, its answer no longer than this."""
        ...

    async def extend(self, turn: Turn, built: Context, answer: Answer) -> None:
        """Make the finished turn, whose context was `built`, part of the thread's active one."""
        ...

    def count(self, text: str) -> int:
        """Count, or estimate, the tokens of a text."""
        ...


class Tools(Protocol):
    """Parley's own tools: what a model may call in a turn, and what calls it."""

    def check(self, extras: Extras, info: ModelInfo) -> None:
        """Raise `InvalidRequest` for tools that a request names and that it cannot use."""
        ...

    def offered(self, turn: Turn, route: Route) -> Sequence[ToolSpec]:
        """List the tools that this turn may use with this model."""
        ...

    def action(self, name: str, arguments: str) -> str:
        """Say to people what a call is about to do; never raises."""
        ...

    async def run(self, name: str, arguments: str) -> ToolResult:
        """Call a tool, bounded in time and size; `arguments` are as the model wrote them.

        Never raises: what goes wrong is a result with an error, for the model to see.
        """
        ...
