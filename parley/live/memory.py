"""What is live in one process: all of it in memory."""

from parley.chat.ports import Live
from parley.live.memory_log import MemoryTurnLog
from parley.live.memory_news import MemoryAnnouncements


def memory_live() -> Live:
    """Make the default: one process, which needs nothing besides."""
    return Live(MemoryTurnLog(), MemoryAnnouncements())
