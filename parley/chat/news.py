"""News: what happened to a turn or to a thread, for whoever has it in front of them."""

from dataclasses import dataclass

from parley.chat.turns import Turn, TurnState


@dataclass(frozen=True, slots=True)
class TurnNews:
    """A turn was begun, runs, or is over: `state` says which.

    Of a turn that is not over, a reader reads the rest by `Engine.turn` and follows it by
    `Engine.follow`. `fence` rises when another replica carries on with the turn.
    """

    thread_id: str
    turn_id: str
    state: TurnState
    fence: int = 1
    stop_requested: bool = False

    @classmethod
    def of(cls, turn: Turn) -> "TurnNews":
        """Say what the turn is now."""
        return cls(turn.thread_id, turn.id, turn.state, turn.fence, turn.stop_requested)


@dataclass(frozen=True, slots=True)
class Named:
    """One of this owner's threads has another name: the rows say which."""

    owner_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """One of this owner's threads was deleted."""

    owner_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The metadata of one of this owner's threads are others, as what it is answered with."""

    owner_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """From here on no turn of the thread is missed; what began and ended unheard is in the rows."""

    thread_id: str


ThreadNews = Named | Deleted | Changed
News = TurnNews | ThreadNews
# What is said to who listens to a thread.
Heard = News | CaughtUp
