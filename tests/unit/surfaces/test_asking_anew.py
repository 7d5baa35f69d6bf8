"""What is asked anew has the files of its message, also where who asks leaves in between."""

import asyncio
from contextlib import suppress
from typing import cast

import pytest

from parley.chat.attachments import Attachments
from parley.chat.errors import ParleyError, RateLimited, StorageUnavailable
from parley.chat.turns import Owner, TurnRequest
from parley.surfaces.page.attached import ask_anew
from tests.unit.chat.support import ANNA, TroubledStore, bench


class Copies:
    """Files, by the step that they are with."""

    def __init__(self, *step_ids: str) -> None:
        self.at = dict(enumerate(step_ids))

    async def copy(self, owner: Owner, thread_id: str, step_id: str, to_step_id: str) -> list[str]:
        assert step_id in self.at.values()
        self.at[len(self.at)] = to_step_id
        return [str(len(self.at) - 1)]

    async def delete(self, owner: Owner, element_id: str, thread_id: str | None = None) -> None:
        await asyncio.sleep(0)
        del self.at[int(element_id)]


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("refused", [False, True])
async def test_copied_files_are_with_a_question_or_gone(*, leaves: bool, refused: bool) -> None:
    store = TroubledStore()
    async with bench(store=store) as one:
        turn = await one.submit()
        files = Copies(turn.user_step_id)
        store.held["begin"] = asyncio.Event()
        if refused:
            store.errors["begin"] = RateLimited("Not now.", retry_after_s=1)
        request = TurnRequest(owner=ANNA, thread_id=turn.thread_id, text="Hello?")
        asking = asyncio.create_task(ask_anew(one.engine, cast(Attachments, files), request, turn))
        await store.until(lambda: store.entered.count("begin") == 2)
        if leaves:
            asking.cancel()
        store.held["begin"].set()
        with suppress(asyncio.CancelledError, ParleyError):
            await asking
        asked = {t.user_step_id for t in await store.live(ANNA.id, turn.thread_id)}
    assert set(files.at.values()) == asked
    assert len(files.at) == (1 if refused else 2)


async def test_a_question_whose_commit_was_not_heard_of_keeps_its_files() -> None:
    """It runs, once the keeper finds it."""
    store = TroubledStore()
    async with bench(store=store) as one:
        turn = await one.submit()
        files = Copies(turn.user_step_id)
        store.unheard.add("begin")
        request = TurnRequest(owner=ANNA, thread_id=turn.thread_id, text="Hello?")
        with pytest.raises(StorageUnavailable):
            await ask_anew(one.engine, cast(Attachments, files), request, turn)
        asked = {t.user_step_id for t in await store.live(ANNA.id, turn.thread_id)}
    assert len(asked) == 2
    assert set(files.at.values()) == asked
