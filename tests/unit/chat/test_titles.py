"""A new conversation is named by its model, unless somebody named it or the model cannot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from parley.chat.conversations import Conversation, Conversations
from parley.chat.deltas import FinishReason
from parley.chat.errors import NotFound
from parley.chat.fold import Folded
from parley.chat.requests import thread_name
from parley.chat.titles import TitleConfig, Titles, open_titles, title_of
from parley.chat.turns import Turn
from tests.fakes.scripted_provider import Call, OneModel
from tests.patience import PATIENCE_S
from tests.unit.chat.support import Bench, bench

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Named:
    """Threads by id, with their titles; the part of `Conversations` that is asked here."""

    def __init__(self) -> None:
        self.titles: dict[str, str] = {}

    async def read(self, owner_id: str, thread_id: str) -> Conversation:
        if thread_id not in self.titles:
            raise NotFound("There is no such conversation.")
        return Conversation(thread_id, self.titles[thread_id], NOW, NOW, None, {})

    async def retitle(self, owner_id: str, thread_id: str, before: str, title: str) -> bool:
        if self.titles[thread_id] != before:
            return False
        self.titles[thread_id] = title
        return True


@dataclass
class Scene:
    made: Bench
    named: Named
    titles: Titles

    async def begin(self, text: str = "Where do quokkas live?", **changes: Any) -> Turn:
        asked_so_far = len(self.made.provider.calls)
        turn = await self.made.submit(text, **changes)
        self.named.titles.setdefault(turn.thread_id, thread_name(text))
        call = await self.made.provider.call(asked_so_far)
        call.finish("On Rottnest Island.")
        await self.made.folded(turn)
        return turn

    async def asked(self, index: int = 1) -> Call:
        return await self.made.provider.call(index)

    async def idle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self.titles.waiting)

    @property
    def title(self) -> str:
        return self.named.titles[self.made.thread_id]


@asynccontextmanager
async def scene(
    config: TitleConfig | None = None, *, is_model: bool = True
) -> AsyncIterator[Scene]:
    named = Named()
    async with bench() as made:
        catalogue = OneModel(made.provider, None, is_model=is_model)
        opened = open_titles(
            config or TitleConfig(), made.engine, catalogue, cast("Conversations", named)
        )
        async with opened as titles:
            yield Scene(made, named, titles)


async def test_the_model_names_a_new_conversation() -> None:
    async with scene() as on:
        await on.begin()
        call = await on.asked()
        assert "Where do quokkas live?" in call.request.messages[-1].text
        assert "On Rottnest Island." in call.request.messages[-1].text
        call.finish('Title: "Quokkas and their ', 'homes."\nMore words')
        await on.idle()
        assert on.title == "Quokkas and their homes"
        await on.begin("And what do they eat?")
        assert len(on.made.provider.calls) == 3, "only the first turn names it"
        assert len(on.made.store.saved) >= 2, "what is asked for a title is not kept"


async def test_a_name_by_hand_wins_before_and_meanwhile() -> None:
    async with scene() as on:
        on.named.titles[on.made.thread_id] = "Mine"
        await on.begin()
        await on.idle()
        assert len(on.made.provider.calls) == 1
    async with scene() as on:
        await on.begin()
        call = await on.asked()
        on.named.titles[on.made.thread_id] = "Mine"
        call.finish("Theirs")
        await on.idle()
        assert on.title == "Mine"


async def test_what_is_no_model_is_not_asked() -> None:
    async with scene(is_model=False) as on:
        await on.begin()
        await on.idle()
        assert len(on.made.provider.calls) == 1
        assert on.title == "Where do quokkas live?"


async def test_an_answer_that_did_not_end_well_names_nothing() -> None:
    async with scene() as on:
        turn = await on.made.submit("Hello?")
        await on.asked(0)
        await on.made.engine.stop(turn.owner_id, turn.id)
        await on.made.folded(turn)
        assert not on.titles.waiting


async def test_it_takes_so_long_and_no_longer() -> None:
    async with scene(TitleConfig(within_s=0.05)) as on:
        await on.begin()
        call = await on.asked()
        await on.idle()
        await asyncio.wait_for(call.closed.wait(), PATIENCE_S)
        assert on.title == "Where do quokkas live?"


async def test_so_many_wait_and_no_more() -> None:
    async with scene(TitleConfig(at_once=1, waiting=1)) as on:
        await on.begin()
        call = await on.asked()
        turn = await on.begin("Another one", thread_id="11111111-1111-4111-8111-111111111111")
        assert len(on.titles.waiting) == 1
        call.finish("A title")
        await on.idle()
        assert on.title == "A title"
        assert on.named.titles[turn.thread_id] == "Another one"


async def test_the_end_of_the_process_ends_it() -> None:
    async with asyncio.timeout(PATIENCE_S), scene() as on:
        await on.begin()
        await on.asked()
    assert on.title == "Where do quokkas live?"


async def test_a_conversation_that_is_gone_is_not_named() -> None:
    async with scene() as on:
        on.named.titles["x"] = ""
        turn = await on.made.submit("Hello?")
        (await on.asked(0)).finish("Hi")
        await on.made.folded(turn)
        await on.idle()
        assert on.named.titles == {"x": ""}


def said(text: str, reason: FinishReason = FinishReason.STOP) -> Folded:
    return replace(Folded(), text=text, finish_reason=reason)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Quokkas of Rottnest", "Quokkas of Rottnest"),
        ("  \n\n**Quokkas**\n", "Quokkas"),
        ("# Title: „Beuteltiere in Australien“.", "Beuteltiere in Australien"),
        ("Name: `x`", "x"),
        ("", None),
        (' "" ', None),
        ("Sure! " * 20, None),
    ],
)
def test_what_is_taken_for_a_title(text: str, title: str | None) -> None:
    assert title_of(said(text)) == title


@pytest.mark.parametrize("reason", [r for r in FinishReason if r is not FinishReason.STOP])
def test_half_a_title_is_none(reason: FinishReason) -> None:
    assert title_of(said("Quokkas", reason)) is None
