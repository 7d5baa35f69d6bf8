"""The active contexts of one process, in memory: the default `ContextStore`, bounded (LRU)."""

from collections import OrderedDict
from collections.abc import Sequence

from parley.chat.turns import ContextRecord


class MemoryContextStore:
    """Keeps the contexts that were used last; what is gone is rebuilt from the rows."""

    def __init__(self, *, capacity: int = 1000, capacity_chars: int = 32 * 2**20) -> None:
        """Keep at most `capacity` threads with `capacity_chars` characters in all."""
        self._records: OrderedDict[str, ContextRecord] = OrderedDict()
        self._capacity = capacity
        self._capacity_chars = capacity_chars
        self._chars = 0

    async def load(self, thread_id: str) -> ContextRecord | None:  # noqa: D102 - see the port
        record = self._records.get(thread_id)
        if record:
            self._records.move_to_end(thread_id)
        return record

    async def save(self, thread_id: str, record: ContextRecord) -> None:  # noqa: D102
        self._drop(thread_id)
        self._records[thread_id] = record
        self._chars += _chars(record)
        while len(self._records) > self._capacity or self._chars > self._capacity_chars:
            self._drop(next(iter(self._records)))

    async def forget(self, thread_ids: Sequence[str]) -> bool:  # noqa: D102
        for thread_id in thread_ids:
            self._drop(thread_id)
        return True

    def _drop(self, thread_id: str) -> None:
        record = self._records.pop(thread_id, None)
        if record:
            self._chars -= _chars(record)


def _chars(record: ContextRecord) -> int:
    return sum(len(said.user_text) + len(said.answer_text) for said in record.exchanges)
