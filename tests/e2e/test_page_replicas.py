"""The page across replicas: its server dies, and it goes on in the same bubble on another one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.balancer import balancer
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.replicas import Replicas, replicas
from tests.e2e.storyteller import story
from tests.e2e.test_page import settled, thread_of
from tests.patience import until

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_postgres, pytest.mark.needs_redis]


@dataclass(frozen=True)
class Balanced:
    """Two replicas behind a balancer that sends nobody to the same one twice."""

    replicas: Replicas
    url: str


@pytest.fixture(scope="module")
async def balanced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Balanced]:
    async with (
        replicas(tmp_path_factory.mktemp("two"), count=2) as it,
        balancer([parley.port for parley in it.parleys]) as url,
    ):
        yield Balanced(it, url)


async def asked(page: Page, it: Balanced, length: int) -> str:
    """Open a new chat and say something in it; the answer has begun, and stands still."""
    message = f"{uuid4().hex[:8]} {length}"
    await page.goto(it.url)
    await settled(page)
    await page.locator("#chat-input").fill(message)
    it.replicas.teller.goes_on.clear()
    await page.locator("#chat-submit").click()
    await expect(answers(page)).to_contain_text(story(message).split(" ")[0])
    return message


def answers(page: Page) -> Locator:
    return page.locator("[data-step-type=assistant_message]")


async def owner_of(it: Replicas, message: str) -> int:
    statement = (
        "SELECT turns.id FROM turns JOIN steps ON steps.id = turns.user_step_id"
        " WHERE steps.output = $1"
    )
    (row,) = await it.rows(statement, message)
    return await it.owner_of(row["id"])


async def test_a_page_whose_server_dies_goes_on_in_the_same_bubble(
    balanced: Balanced, page: Page
) -> None:
    it = balanced.replicas
    message = await asked(page, balanced, 60)
    owner = await owner_of(it, message)
    await asyncio.to_thread(it.parleys[owner].kill)
    try:
        it.teller.goes_on.set()
        await expect(answers(page)).to_have_count(1)
        await expect(answers(page)).to_contain_text(story(message))
        await expect(page.locator("#stop-button")).to_have_count(0)
        assert it.teller.calls[message] == 2
    finally:
        await it.restart(owner)


async def test_a_page_stops_what_another_server_runs(balanced: Balanced, page: Page) -> None:
    it = balanced.replicas
    message = await asked(page, balanced, 2000)
    owner = await owner_of(it, message)
    other = await page.context.new_page()
    thread = await thread_of(page)
    await other.goto(f"{it.parleys[1 - owner].url}/thread/{thread}")
    await expect(answers(other)).to_have_count(1)
    it.teller.goes_on.set()
    await expect(answers(other)).to_contain_text("5 6 7")
    await other.locator("#stop-button").click()
    await until(lambda: message in it.teller.left_at)
    await expect(page.locator("#stop-button")).to_have_count(0)
    answer = await it.answer_to(message)
    for each in (page, other):
        await expect(answers(each).get_by_role("article")).to_have_text(answer["output"])
    # Another surface, on either server: both pages show it as it comes.
    cookies = {c["name"]: c["value"] for c in await page.context.cookies()}
    said = {"message": f"{uuid4().hex[:8]} 30"}
    url = f"/api/v1/conversations/{thread}/messages"
    async with httpx2.AsyncClient(base_url=balanced.url, cookies=cookies, timeout=30) as client:
        response = await client.post(url, json=said)
    assert response.status_code == 200
    for each in (page, other):
        await expect(answers(each)).to_have_count(2)
        await expect(answers(each).last).to_contain_text(story(said["message"]))


async def test_what_is_chosen_on_one_server_is_shown_and_kept_on_all(balanced: Balanced) -> None:
    """Also what a page on another one had before, whose session ends later."""
    one, two = balanced.replicas.parleys
    chosen = {"system_prompt": "Answer in rhymes.", "temperature": "0.3", "tools": True}
    balanced.replicas.teller.goes_on.set()
    cookie = await new_guest(one)

    def opened() -> dict[str, str]:
        return {"sessionId": str(uuid4()), "clientType": "webapp", "threadId": thread}

    async with page_socket(one, cookie) as ada:
        await ada.say(f"{uuid4().hex[:8]} 3")
        thread = (await ada.next("first_interaction"))["thread_id"]
        await ada.next("task_end")
        async with page_socket(two, cookie, opened()) as other:
            await other.emit("connection_successful")
            await other.next("ready")
            await ada.emit("chat_settings_change", chosen)
            assert settings(await other.next("chat_settings", 2)) == chosen
            await other.say(f"{uuid4().hex[:8]} 3")
            await other.next("task_end", 2)
    async with page_socket(one, cookie, opened()) as later:
        await later.emit("connection_successful")
        assert settings(await later.next("chat_settings")) == chosen
    statement = "SELECT system_prompt FROM turns WHERE thread_id = $1 ORDER BY arrival"
    prompts = [
        row["system_prompt"] for row in await balanced.replicas.rows(statement, UUID(thread))
    ]
    assert prompts == [None, chosen["system_prompt"]]


def settings(widgets: list[dict[str, Any]]) -> dict[str, Any]:
    return {widget["id"]: widget["initial"] for widget in widgets}
