"""A `TurnStore` and its `Ownership` in memory; they pass the contract suites of the SQL ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from parley.chat.deltas import FinishReason
from parley.chat.errors import Conflict, NotFound, RateLimited, StaleFence
from parley.chat.ownership import Look, Orphan, Owned
from parley.chat.requests import begun_turn, too_many_running
from parley.chat.turns import Answer, Begun, Exchange, NewTurn, Turn, TurnState, most_walked


@dataclass
class _Thread:
    owner_id: str
    head_turn_id: str | None = None
    deleted: bool = False


@dataclass
class _Row:
    turn: Turn
    digest: str
    replica_id: str
    came_from_queue: bool = False


class MemoryTurnStore:
    """Turns and threads in dicts, in order of arrival."""

    def __init__(self) -> None:
        self._threads: dict[str, _Thread] = {}
        self._rows: dict[str, _Row] = {}
        # The replicas that nobody takes for dead.
        self.living: set[str] = set()

    async def begin(self, new: NewTurn) -> Begun:
        thread = self._threads.get(new.thread_id) or _Thread(new.owner.id)
        if thread.owner_id != new.owner.id or thread.deleted:
            raise NotFound("There is no such conversation.")
        here = [row for row in self._rows.values() if row.turn.thread_id == new.thread_id]
        for row in here:
            if row.turn.key == new.key:
                if row.digest != new.digest:
                    raise Conflict("This key was used before with another message.")
                return Begun(row.turn, created=row.turn.id == new.id)
        if any(self._taken(step) for step in (new.user_step_id, new.answer_step_id)):
            raise Conflict("The id of this message is taken.")
        busy = any(not row.turn.state.is_over for row in here)
        self._check_limits(new, busy=busy)
        state = TurnState.QUEUED if busy else TurnState.RUNNING
        parent_id = thread.head_turn_id
        if new.replaces is not None:
            parent_id = self._here(new.owner.id, new.thread_id, new.replaces).parent_id
        turn = begun_turn(new, parent_id, state)
        thread.head_turn_id = turn.id
        self._threads[new.thread_id] = thread
        self._rows[turn.id] = _Row(turn, new.digest, new.replica_id)
        return Begun(turn, created=True)

    async def choose_branch(self, owner_id: str, thread_id: str, turn_id: str) -> str:
        tree = [self._here(owner_id, thread_id, turn_id).id]
        for row in self._rows.values():  # in order of arrival: parents first
            if row.turn.parent_id in tree:
                tree.append(row.turn.id)
        self._threads[thread_id].head_turn_id = tree[-1]
        return tree[-1]

    async def checkpoint(self, turn: Turn, answer: Answer) -> None:
        row = self._still_mine(turn)
        receipt = row.turn.answer.receipt if answer.receipt is None else answer.receipt
        kept = replace(
            row.turn.answer,
            text=answer.text,
            reasoning=answer.reasoning,
            receipt=receipt,
            seq=answer.seq,
            tools=answer.tools or row.turn.answer.tools,
        )
        row.turn = replace(row.turn, answer=kept)

    async def finish(self, turn: Turn, answer: Answer) -> Turn | None:
        row = self._rows.get(turn.id)
        if row and row.turn.fence == turn.fence and row.turn.answer == answer:
            running = await self.running(turn.owner_id, turn.thread_id)
            following = self._rows[running.id] if running else None
            if following is None or following.replica_id != row.replica_id:
                return None
            return following.turn if following.came_from_queue else None
        row = self._still_mine(turn)
        row.turn = replace(row.turn, state=answer.state, answer=answer)
        for waiting in self._rows.values():
            if waiting.turn.thread_id == turn.thread_id and waiting.turn.state is TurnState.QUEUED:
                _set_state(waiting, TurnState.RUNNING)
                waiting.came_from_queue = True
                waiting.replica_id = row.replica_id
                return waiting.turn
        return None

    async def request_stop(self, owner_id: str, turn_id: str) -> Turn:
        row = self._owned(owner_id, turn_id)
        if not row.turn.state.is_over:
            row.turn = replace(row.turn, stop_requested=True)
        if row.turn.state is TurnState.QUEUED:
            _set_state(row, TurnState.STOPPED, FinishReason.STOPPED)
        return row.turn

    async def turn(self, owner_id: str, turn_id: str) -> Turn:
        return self._owned(owner_id, turn_id).turn

    async def turn_of_step(self, owner_id: str, step_id: str) -> str:
        for row in self._rows.values():
            turn = row.turn
            if turn.owner_id == owner_id and step_id in {turn.user_step_id, turn.answer_step_id}:
                return turn.id
        raise NotFound("There is no such turn.")

    async def running(self, owner_id: str, thread_id: str) -> Turn | None:
        for row in self._rows.values():
            turn = row.turn
            here = turn.thread_id == thread_id and turn.owner_id == owner_id
            if here and turn.state is TurnState.RUNNING:
                return turn
        return None

    async def live(self, owner_id: str, thread_id: str) -> Sequence[Turn]:
        mine = [row.turn for row in self._rows.values() if row.turn.owner_id == owner_id]
        return [t for t in mine if t.thread_id == thread_id and not t.state.is_over]

    async def owns_thread(self, owner_id: str, thread_id: str) -> bool:
        thread = self._threads.get(thread_id)
        return thread is not None and thread.owner_id == owner_id and not thread.deleted

    async def history(
        self, owner_id: str, turn_id: str, limit: int, limit_chars: int
    ) -> Sequence[Exchange]:
        branch: list[Exchange] = []
        next_id: str | None = turn_id
        walk = most_walked(limit)
        while next_id is not None and len(branch) < walk:
            row = self._rows.get(next_id)
            if row is None or row.turn.owner_id != owner_id:
                break
            limit_chars -= _exchange(row.turn).chars
            limit -= bool(row.turn.answer.text)
            if limit_chars < 0 or limit < 0:
                break
            branch.insert(0, _exchange(row.turn))
            next_id = row.turn.parent_id
        return branch

    async def exchanges(self, owner_id: str, turn_ids: Sequence[str]) -> Sequence[Exchange]:
        found = [self._rows[turn_id].turn for turn_id in turn_ids if turn_id in self._rows]
        return [_exchange(turn) for turn in found if turn.owner_id == owner_id]

    def ownership(self, replica_id: str) -> "MemoryOwnership":
        """Own turns of this store in the name of a replica that lives from now on."""
        self.living.add(replica_id)
        return MemoryOwnership(self, replica_id)

    def running_rows(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.turn.state is TurnState.RUNNING]

    async def delete_thread(self, owner_id: str, thread_id: str) -> None:
        """Do what `SqlThreads.delete` does to turns."""
        assert await self.owns_thread(owner_id, thread_id)
        self._threads[thread_id].deleted = True
        gone = [id for id, row in self._rows.items() if row.turn.thread_id == thread_id]
        for turn_id in gone:
            del self._rows[turn_id]

    def _here(self, owner_id: str, thread_id: str, turn_id: str) -> Turn:
        turn = self._owned(owner_id, turn_id).turn
        if turn.thread_id != thread_id:
            raise NotFound("There is no such turn in this conversation.")
        return turn

    def _owned(self, owner_id: str, turn_id: str) -> _Row:
        row = self._rows.get(turn_id)
        if row is None or row.turn.owner_id != owner_id:
            raise NotFound("There is no such turn.")
        return row

    def _still_mine(self, turn: Turn) -> _Row:
        row = self._rows.get(turn.id)
        mine = row is not None and row.turn.fence == turn.fence
        if row is None or not mine or row.turn.state is not TurnState.RUNNING:
            raise StaleFence("the turn has another owner, is over or was deleted")
        return row

    def _taken(self, step_id: str) -> bool:
        return any(
            step_id in {row.turn.user_step_id, row.turn.answer_step_id}
            for row in self._rows.values()
        )

    def _check_limits(self, new: NewTurn, *, busy: bool) -> None:
        queued = sum(
            row.turn.owner_id == new.owner.id and row.turn.state is TurnState.QUEUED
            for row in self._rows.values()
        )
        running = sum(row.turn.owner_id == new.owner.id for row in self.running_rows())
        if busy and queued >= new.max_queued:
            raise RateLimited("Too many of your messages wait for an answer.", retry_after_s=5)
        if new.refusal:
            raise new.refusal
        if not busy and running >= new.max_running:
            raise too_many_running()


class MemoryOwnership:
    """Ownership of the turns of a store in memory, where the test says who lives."""

    is_fresh = True

    def __init__(self, store: MemoryTurnStore, replica_id: str) -> None:
        self._store = store
        self._me = replica_id

    async def look(self) -> Look:
        rows = self._store.running_rows()
        mine = [row for row in rows if row.replica_id == self._me]
        orphans = [row for row in rows if row.replica_id not in {self._me, *self._store.living}]
        return Look(
            [Owned(r.turn.id, r.turn.owner_id, r.turn.fence, r.turn.stop_requested) for r in mine],
            [Orphan(r.turn.id, r.turn.owner_id, r.turn.fence, r.replica_id) for r in orphans],
        )

    async def take_over(self, orphan: Orphan) -> Turn | None:
        for row in self._store.running_rows():
            seen = (row.turn.id, row.turn.fence, row.replica_id)
            if seen == (orphan.turn_id, orphan.fence, orphan.replica_id):
                if orphan.replica_id in self._store.living:
                    return None
                row.turn = replace(row.turn, fence=row.turn.fence + 1)
                row.replica_id = self._me
                return row.turn
        return None

    async def has_heirs(self) -> bool:
        return bool(self._store.living - {self._me})


def _exchange(turn: Turn) -> Exchange:
    return Exchange(turn.id, turn.parent_id, turn.text, turn.answer.text, tools=turn.answer.tools)


def _set_state(row: _Row, state: TurnState, reason: FinishReason | None = None) -> None:
    ended_at = datetime.now(UTC) if state.is_over else None
    answer = replace(row.turn.answer, state=state, finish_reason=reason, ended_at=ended_at)
    row.turn = replace(row.turn, state=state, answer=answer)
