"""Events and news as bytes, and back: what one process writes into Redis and another one reads.

A list for each: its kind, then its fields in order, without the turn's id, which the key has. What
a newer version writes and this one does not know is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import msgspec

from parley.chat.events import Event, TextEvent
from parley.chat.news import Changed, Deleted, Named, News, ThreadNews, TurnNews

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
# What is told of a thread is a list, so that it is told apart from a turn, which is a map: owner,
# thread, and what happened, which is left out for a name.
_THREAD_NEWS: dict[str, type[ThreadNews]] = {
    "": Named,
    "deleted": Deleted,
    "changed": Changed,
}
_HAPPENED = {kind: happened for happened, kind in _THREAD_NEWS.items()}
_decode_news = msgspec.msgpack.Decoder(tuple[str, TurnNews | tuple[str, ...] | None]).decode
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_NAMES = {kind: tuple(field.name for field in fields(kind))[1:] for kind in _KINDS.values()}
_TYPES = {
    kind: tuple(get_type_hints(kind)[name] for name in names) for kind, names in _NAMES.items()
}


def encode_events(events: Iterable[Event]) -> bytes:
    """Write the events of one turn."""
    return _encode([_values(event) for event in events])


def decode_events(turn_id: str, data: bytes) -> Iterator[Event]:
    """Read the events of a turn; raises `ValueError` for what is none."""
    try:
        for kind, *values in _decode(data):
            if known := _KINDS.get(kind):
                read = (msgspec.convert(v, t) for v, t in zip(values, _TYPES[known], strict=False))
                yield known(turn_id, *read)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError("these are no events") from error


def encode_news(replica_id: str, news: News | None) -> bytes:
    """Write news, and who tells them; None for news that were missed."""
    if news is None or isinstance(news, TurnNews):
        return _encode((replica_id, news))
    happened = filter(None, [_HAPPENED[type(news)]])
    return _encode((replica_id, (news.owner_id, news.thread_id, *happened)))


def decode_news(data: bytes) -> tuple[str, News | None]:
    """Read news; raises `ValueError` for what is none."""
    try:
        replica_id, news = _decode_news(data)
        return replica_id, _thread_news(*news) if isinstance(news, tuple) else news
    except (msgspec.MsgspecError, TypeError, KeyError) as error:
        raise ValueError("these are no news") from error


def _thread_news(owner_id: str, thread_id: str, happened: str = "") -> ThreadNews:
    return _THREAD_NEWS[happened](owner_id, thread_id)


def _values(event: Event) -> list[Any]:
    if type(event) is TextEvent:  # nearly all of them
        return ["TextEvent", event.seq, event.text, event.offset]
    kind = type(event)
    return [kind.__name__, *(getattr(event, name) for name in _NAMES[kind])]
