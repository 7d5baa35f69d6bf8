"""Sessions: which thread a name that a client chose stands for."""

from parley.auth.callers import Session
from parley.chat.engine import Engine
from parley.chat.turns import Owner


async def thread_of(engine: Engine, session: Session) -> tuple[Owner, str]:
    """Find the thread that is meant, and whose it is: a new secret starts no conversation anew."""
    own, before = session.maybe_thread_id, session.before
    if own and await engine.owns_thread(session.owner.id, own):
        return session.owner, own
    if before and await engine.owns_thread(before.owner.id, before.thread_id):
        return before.owner, before.thread_id
    return session.owner, session.thread_id
