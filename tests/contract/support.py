"""What the contract suites share: owners, turns and answers."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from parley.chat.deltas import FinishReason
from parley.chat.models import Sampling
from parley.chat.requests import new_turn
from parley.chat.turns import Answer, AttemptRecord, NewTurn, Owner, TurnRequest, TurnState
from parley.chat.usage import Usage

REPLICA = "this"


def an_owner() -> Owner:
    name = uuid4().hex
    return Owner(str(uuid4()), name)


def a_turn(owner: Owner, thread_id: str, text: str = "Hello?", **changes: object) -> NewTurn:
    request = TurnRequest(
        owner=owner,
        thread_id=thread_id,
        text=text,
        sampling=Sampling(max_tokens=5, stop=("x",)),
        system_prompt="Be brief.",
    )
    new = new_turn(request, "p:model", replica_id=REPLICA, max_running=10, max_queued=50)
    return replace(new, **changes)  # type: ignore[arg-type]  # names of NewTurn


def an_end(text: str = "Good day", **changes: object) -> Answer:
    answer = Answer(
        state=TurnState.COMPLETED,
        text=text,
        reasoning="hm",
        finish_reason=FinishReason.STOP,
        usage=Usage(1, 2, cached_tokens=3),
        attempts=(AttemptRecord("p", "model", "", "completed", 2, 40),),
        receipt={"version": 1},
        time_to_first_chunk_ms=10,
        duration_ms=50,
        ended_at=datetime.now(UTC),
    )
    return replace(answer, **changes)  # type: ignore[arg-type]  # names of Answer
