"""Listening: a surface that has a thread open hears of its turns, wherever they were begun.

And of its owner's threads, which it lists beside it: the names that they get, and which are deleted.
"""

from collections.abc import AsyncGenerator, Sequence

from parley.chat.errors import NotFound
from parley.chat.news import CaughtUp, Heard, TurnNews
from parley.chat.ports import Announcements, TurnStore


async def listen(
    turns: TurnStore, announcements: Announcements, owner_id: str, thread_id: str
) -> AsyncGenerator[Heard]:
    """Do what `Engine.listen` promises."""
    if not await turns.owns_thread(owner_id, thread_id):
        raise NotFound("There is no such conversation.")
    known: dict[str, TurnNews] = {}
    with announcements.listening(thread_id, owner_id) as arriving:
        changed = await _changed(turns, owner_id, thread_id, known)
        changes: Sequence[Heard] = [*changed, CaughtUp(thread_id)]
        while True:
            for news in changes:
                yield news
            told = await anext(arriving)
            if told is None:
                changed = await _changed(turns, owner_id, thread_id, known)
                changes = [*changed, CaughtUp(thread_id)]
            else:
                is_new = not isinstance(told, TurnNews) or _is_new(known, told)
                changes = [told] if is_new else []


async def _changed(
    turns: TurnStore, owner_id: str, thread_id: str, known: dict[str, TurnNews]
) -> list[TurnNews]:
    """Read what is live now, and how those ended that were live before."""
    live = {turn.id: turn for turn in await turns.live(owner_id, thread_id)}
    for turn_id in known.keys() - live.keys():
        live[turn_id] = await turns.turn(owner_id, turn_id)
    return [news for news in map(TurnNews.of, live.values()) if _is_new(known, news)]


def _is_new(known: dict[str, TurnNews], news: TurnNews) -> bool:
    """Whether it was not said yet; what is live is kept in mind, to know how it ends."""
    before = known.pop(news.turn_id, None)
    if not news.state.is_over:
        known[news.turn_id] = news
    return before != news
