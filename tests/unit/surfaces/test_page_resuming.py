"""A thread that is opened while its answer ends: the page goes on to the end all the same."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

import pytest
from chainlit.data.base import BaseDataLayer
from chainlit.session import WebsocketSession
from chainlit.types import ThreadDict
from chainlit.user import PersistedUser

from parley.chat.attachments import Attachments
from parley.chat.models import Health, ModelInfo
from parley.chat.receipts import Receipts
from parley.surfaces.page.asking import Asked, Asking
from parley.surfaces.page.following import Following, _Socket
from parley.surfaces.page.offering import Offering
from parley.surfaces.page.showing import Shown, _end_of
from tests.fakes.scripted_provider import OneModel
from tests.unit.chat.support import ANNA, Bench, bench


class EndsMeanwhile:
    """What is shown of threads, and the models; the answer ends while its thread is being shown."""

    def __init__(self, one: Bench) -> None:
        self._one = one

    async def read(self, session: WebsocketSession) -> ThreadDict:
        thread = {"id": session.thread_id, "name": "hi", "metadata": {}, "steps": []}
        return cast(ThreadDict, thread)

    async def show(self, session: WebsocketSession, _: ThreadDict) -> None:
        running = await self._one.engine.running(ANNA.id, session.thread_id)
        assert running
        (await self._one.provider.call()).finish("Once upon a time.")
        await self._one.folded(running)

    def models(self) -> Sequence[ModelInfo]:
        return OneModel(self._one.provider).models()

    async def health(self) -> Mapping[str, Health]:
        return {}


async def _emit(*_: object) -> None:
    pass


async def test_an_answer_that_ends_while_its_thread_is_shown_is_gone_on_with() -> None:
    async with bench() as one:
        turn = await one.submit()
        opens = EndsMeanwhile(one)
        asked: Any = Asked(
            one.engine,
            cast(BaseDataLayer, None),
            cast(Attachments, None),
            cast(Receipts, None),
            opens,
            (),
        )
        asking = Asking(asked, cast(Shown, opens), cast(Following, None))
        session = WebsocketSession(
            id=str(uuid4()),
            socket_id="socket",
            emit=_emit,  # type: ignore[arg-type]  # Chainlit awaits it, and its type says not
            emit_call=_emit,
            client_type="webapp",
            user_env={},
            user=PersistedUser(id=ANNA.id, identifier=ANNA.identifier, createdAt=""),
            thread_id=turn.thread_id,
            environ={},
        )
        going_on = await asking.resume(session)
        await session.delete()  # type: ignore[no-untyped-call]  # Chainlit has no type here
    assert going_on
    assert going_on.id == turn.id


class Grown:
    """A thread that has grown since it was shown."""

    def __init__(self, *asked: str) -> None:
        self._steps = [{"id": id, "type": "user_message", "output": "hi"} for id in asked]
        self.times_shown = 0

    async def grown(self, _: WebsocketSession) -> ThreadDict:
        return cast(ThreadDict, {"steps": self._steps})

    async def show(self, *_: object) -> None:
        self.times_shown += 1


@pytest.mark.parametrize(("sent", "times_shown"), [("one", 1), ("two", 0)])
async def test_what_began_and_ended_unheard_is_shown(sent: str, times_shown: int) -> None:
    """But not what this page asked itself: it reads that already."""
    grown = Grown("one", "two")
    async with bench() as one:
        following = Following(one.engine, cast(Shown, grown), cast(Offering, None))
        await following._catch_up(cast(WebsocketSession, None), _Socket(sent={sent}))
    assert grown.times_shown == times_shown


async def test_a_thread_is_compared_with_what_was_shown_of_it() -> None:
    steps = [{"id": "a", "output": "Once", "metadata": {"turn_state": "running"}}]
    ended = [steps[0] | {"output": "Once upon", "metadata": {"turn_state": "completed"}}]
    assert _end_of(cast(ThreadDict, {"steps": steps})) != _end_of(
        cast(ThreadDict, {"steps": ended})
    )
    assert _end_of(cast(ThreadDict, {"steps": []})) == []
