"""Following: a turn's events for a client, who after the first byte hears of a failure as one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from parley.chat.deltas import FinishReason
from parley.chat.engine import Engine
from parley.chat.errors import HandedOver, ParleyError
from parley.chat.events import Done, ErrorEvent, Event
from parley.chat.turns import Turn
from parley.observability.logs import get_logger
from parley.surfaces.wire import event_json

logger = get_logger(__name__)

# How soon a browser connects again, in milliseconds.
_RETRY = b"retry: 1000\n\n"


async def followed(
    engine: Engine, turn: Turn, after: int = 0, *, resumes: bool = False
) -> AsyncGenerator[Event]:
    """Follow a turn; a failure comes as an error and `Done`.

    They are no events of the turn and have the number of the one before them: whoever goes on
    from there misses nothing. A reader that `resumes` elsewhere gets none where the turn only goes
    on elsewhere.
    """
    seq = after
    try:
        async with aclosing(engine.follow(turn, after)) as events:
            async for event in events:
                seq = event.seq
                yield event
    except ParleyError as error:
        if resumes and isinstance(error, HandedOver):
            return
        logger.warning("Stream failed", turn_id=turn.id, code=error.code)
        yield ErrorEvent(turn.id, seq, error.code, error.message, error.retry_after_s)
        yield Done(turn.id, seq, FinishReason.ERROR, None, 0)


async def resumable_frames(engine: Engine, turn: Turn, after: int = 0) -> AsyncGenerator[bytes]:
    """Render events with their ``id:``; the end of a stream before `Done` means: connect again.

    So a turn that goes on elsewhere has no error here.
    """
    yield _RETRY
    seq = after
    try:
        async with aclosing(engine.follow(turn, after)) as events:
            async for event in events:
                seq = event.seq
                yield b"id: %d\ndata: %b\n\n" % (seq, event_json(event))
    except HandedOver:
        return
    except ParleyError as error:
        logger.warning("Stream failed", turn_id=turn.id, code=error.code)
        failed = ErrorEvent(turn.id, seq, error.code, error.message, error.retry_after_s)
        yield b"data: %b\n\n" % event_json(failed)
