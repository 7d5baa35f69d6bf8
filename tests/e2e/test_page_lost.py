"""What is lost: threads that are not there, where the page goes on as a new chat; and messages, which are sent again."""

import asyncio
import re
from functools import partial
from uuid import uuid4

import pytest
from playwright.async_api import Page, Route, expect

from tests.e2e.conftest import Faked
from tests.e2e.line import line_to
from tests.e2e.page_socket import page_socket
from tests.e2e.support import select
from tests.e2e.test_page import (
    SIZES,
    answer_of,
    finished,
    open_page,
    say,
    settled,
    shot,
    thread_of,
    thread_option,
)
from tests.fakes.model_server import answer, chunk, hang, sse, wait
from tests.patience import eventually, until

pytestmark = pytest.mark.needs_browser


@pytest.mark.parametrize("lost", ["there", "back"])
async def test_what_is_said_into_a_dead_line_is_sent_again(
    faked: Faked, page: Page, lost: str
) -> None:
    """The first message of a chat, one of a thread that is shown anew, an edit: each once. And settings."""
    faked.will_reply(*(sse(*answer(text)) for text in ("One.", "Two.", "Three.")))
    async with line_to(faked.parley) as line:
        await open_page(page, line)
        for count, text in enumerate(("Say one.", "Say two."), 1):
            line.loses_there, line.loses_back = lost == "there", lost == "back"
            await say(page, text)
            await expect(page.locator("[data-step-type=user_message]")).to_have_count(count)
            if line.loses_back:
                await until(partial(has_been_asked, faked, count))
            await line.cut()
            line.loses_there = line.loses_back = False
            await line.mend()
            await expect(answer_of(page)).to_have_text(text[4:].capitalize(), use_inner_text=True)
            await finished(page)
            for kind in ("user_message", "assistant_message"):
                await expect(page.locator(f"[data-step-type={kind}]")).to_have_count(count)
        await settled(page)
        line.loses_there, line.loses_back = lost == "there", lost == "back"
        first = page.locator("[data-step-type=user_message]").first
        await first.hover()
        await first.locator(".edit-message").click()
        await page.locator("#edit-chat-input").fill("Say three.")
        await page.locator(".confirm-edit").click()
        await page.locator("#chat-settings-open-modal").click()
        await page.locator("#system_prompt").fill("You are a pirate.")
        await page.locator("#confirm").click()
        if line.loses_back:
            await until(partial(has_been_asked, faked, 3))
        await line.cut()
        line.loses_there = line.loses_back = False
        await line.mend()
        await expect(page.get_by_text("The settings hold")).to_be_visible()
        await expect(answer_of(page)).to_have_text("Three.", use_inner_text=True)
        await finished(page)
        await expect(page.locator("[data-step-type=user_message]")).to_have_text("Say three.")
    assert len(faked.server.requests) == 3
    kept = "SELECT json_extract(metadata, '$.chat_settings.system_prompt') FROM threads"
    assert ("You are a pirate.",) in select(faked.parley, kept)


async def test_a_stop_pressed_in_a_dead_line_stops_nothing_else(faked: Faked, page: Page) -> None:
    """It comes with the next connection, when another turn runs."""
    gate = asyncio.Event()
    again = sse(chunk("Two"), wait(gate), *answer(" of two."))
    faked.will_reply(sse(chunk("One"), hang), again)
    async with line_to(faked.parley) as line:
        await open_page(page, line)
        await say(page, "Say one.")
        await expect(answer_of(page)).to_contain_text("One")
        opened = {
            "sessionId": str(uuid4()),
            "clientType": "webapp",
            "threadId": await thread_of(page),
        }
        await line.cut()
        await page.locator("#stop-button").click()
        cookie = "; ".join([f"{c['name']}={c['value']}" for c in await page.context.cookies()])
        async with page_socket(faked.parley, cookie, opened) as other:
            await other.emit("connection_successful")
            await other.emit("stop", await other.next("runs"))
            await other.next("task_end", 2)
            await other.say("Say two.")
            await other.next("runs", 2)
            await line.mend()
            await expect(answer_of(page)).to_contain_text("Two")
            gate.set()
            await expect(answer_of(page)).to_contain_text("Two of two.")
            await finished(page)


def has_been_asked(faked: Faked, times: int) -> bool:
    return len(faked.server.requests) == times


async def test_who_is_offline_stays_signed_in(faked: Faked, chat_page: Page) -> None:
    """The page asks again who is there when the network comes back, or the window to the front."""
    asked = asyncio.Event()

    async def broken(route: Route) -> None:
        await route.abort()
        asked.set()

    await chat_page.route("**/user", broken)
    await chat_page.locator("#chat-input").fill("I am here.")

    async def back() -> bool:
        await chat_page.evaluate("dispatchEvent(new Event('online'))")
        return asked.is_set()

    await eventually(back)
    await settled(chat_page)
    assert chat_page.url == faked.parley.url + "/"
    await expect(chat_page.locator("#chat-input")).to_have_value("I am here.")


@pytest.fixture
async def chat_page(faked: Faked, page: Page) -> Page:
    await open_page(page, faked.parley)
    return page


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("thread", ["19cbb24e-ae28-45ec-ab19-2d69b3a6a3a5", "no-uuid"])
async def test_an_address_that_leads_nowhere_is_a_new_chat(
    faked: Faked, chat_page: Page, size: str, thread: str
) -> None:
    faked.will_reply(sse(*answer("hm")))
    width, height = SIZES[size]
    await chat_page.set_viewport_size({"width": width, "height": height})
    await chat_page.goto(f"{faked.parley.url}/thread/{thread}")
    await expect(chat_page.get_by_text("This conversation is not here").first).to_be_visible()
    await expect(chat_page).to_have_url(faked.parley.url + "/")
    await settled(chat_page)
    await shot(chat_page, f"lost-thread-{size}-light")
    await say(chat_page, "a new beginning")
    await expect(answer_of(chat_page)).to_contain_text("hm")
    await finished(chat_page)


@pytest.mark.parametrize("size", SIZES)
async def test_a_thread_that_is_deleted_elsewhere_says_so(
    faked: Faked, chat_page: Page, size: str
) -> None:
    """While an answer is being written, too; what was read stays until a new chat is begun.

    Where it is deleted, one begins by itself.
    """
    faked.will_reply(sse(*answer("All of it.")), sse(chunk("Once upon"), hang))
    width, height = SIZES[size]
    await say(chat_page, "To be deleted.")
    await finished(chat_page)
    await expect(chat_page).to_have_url(re.compile("/thread/"))
    other = await chat_page.context.new_page()
    await other.set_viewport_size({"width": width, "height": height})
    await open_page(other, faked.parley, chat_page.url.removeprefix(faked.parley.url))
    await say(other, "Tell me a story.")
    await expect(answer_of(other)).to_contain_text("Once upon")

    await thread_option(chat_page, "#delete-thread")
    await chat_page.get_by_role("alertdialog").get_by_role("button", name="Confirm").click()
    await expect(chat_page).to_have_url(faked.parley.url + "/")
    await expect(chat_page.locator("[data-step-type]")).to_have_count(0)
    await expect(other.get_by_text("This conversation was deleted.")).to_be_visible()
    await finished(other)
    await expect(other.get_by_text("All of it.")).to_be_visible()
    await expect(other.locator("button:has(svg.lucide-rotate-ccw)")).to_have_count(0)
    await expect(other.locator("button:has(svg.lucide-info)")).to_have_count(0)
    await shot(other, f"deleted-thread-{size}-light")
    await other.get_by_role("button", name="New chat", exact=True).last.click()
    await expect(other).to_have_url(faked.parley.url + "/")
    await settled(other)
    faked.will_reply(sse(*answer("hm")))
    await say(other, "a new beginning")
    await expect(answer_of(other)).to_contain_text("hm")
    await expect(other.get_by_text("To be deleted.")).to_have_count(0)


async def test_a_new_chat_that_is_deleted_in_its_first_answer_says_so(
    faked: Faked, chat_page: Page
) -> None:
    faked.will_reply(sse(chunk("Once upon"), hang))
    await say(chat_page, "To be deleted at once.")
    await expect(answer_of(chat_page)).to_contain_text("Once upon")
    deleted = await chat_page.request.delete(
        f"{faked.parley.url}/api/v1/conversations/{await thread_of(chat_page)}"
    )
    assert deleted.ok, await deleted.text()
    await expect(chat_page.get_by_text("This conversation was deleted.")).to_be_visible()
    await expect(chat_page.get_by_text("Once upon")).to_be_visible()
    await expect(chat_page.locator("button:has(svg.lucide-rotate-ccw)")).to_have_count(0)


async def test_a_thread_opens_whichever_answer_comes_first(faked: Faked, chat_page: Page) -> None:
    """Chainlit's page connects twice, each time after it has asked for a cookie; the last wins."""
    faked.will_reply(sse(*answer("All of it.")))
    await say(chat_page, "To be opened.")
    await expect(answer_of(chat_page)).to_contain_text("All of it.")
    await finished(chat_page)
    asked, second = 0, asyncio.Event()

    async def second_first(route: Route) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await second.wait()
            await route.continue_()
            return
        answered = await route.fetch()
        await route.fulfill(response=answered)
        second.set()

    await chat_page.route("**/set-session-cookie", second_first)
    await chat_page.reload()
    await expect(answer_of(chat_page)).to_contain_text("All of it.")
    assert asked == 2


async def test_what_is_refused_is_in_the_input_again(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(*answer("hm")))
    text, box = "Too long. " * 120_000, chat_page.locator("#chat-input")
    await say(chat_page, text)
    await expect(chat_page.get_by_text("LIMIT_MESSAGE_BYTES")).to_be_visible()
    await expect(box).to_have_value(text)
    await box.fill("Short.")
    await chat_page.locator("#chat-submit").click()
    await expect(answer_of(chat_page)).to_contain_text("hm")
    await finished(chat_page)
    await expect(box).to_have_value("")
