"""The active contexts of one process, in memory: the default `ContextStore`, bounded (LRU)."""

from collections import OrderedDict

from parley.chat.turns import ContextRecord


class MemoryContextStore:
    """Keeps the contexts that were used last; what is gone is rebuilt from the rows."""

    def __init__(self, *, capacity: int = 1000) -> None:
        """Keep at most `capacity` threads."""
        self._records: OrderedDict[str, ContextRecord] = OrderedDict()
        self._capacity = capacity

    async def load(self, thread_id: str) -> ContextRecord | None:  # noqa: D102 - see the port
        record = self._records.get(thread_id)
        if record:
            self._records.move_to_end(thread_id)
        return record

    async def save(self, thread_id: str, record: ContextRecord) -> None:  # noqa: D102
        self._records[thread_id] = record
        self._records.move_to_end(thread_id)
        while len(self._records) > self._capacity:
            self._records.popitem(last=False)
