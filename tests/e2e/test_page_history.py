"""What is kept, in a real browser: found again, rated, kept at hand, shared."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.e2e.conftest import Faked
from tests.e2e.support import asks, select, serving
from tests.e2e.test_page import (
    SIZES,
    answer_of,
    finished,
    load_again,
    new_chat,
    open_page,
    question_of,
    say,
    shot,
    stranger,
    thread_of,
)
from tests.fakes.model_server import answer, model_server, sse, wait
from tests.patience import until

pytestmark = pytest.mark.needs_browser


@pytest.fixture(scope="module")
async def sharing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley whose users may share."""
    async with model_server() as server:
        settings = {**asks(server), "ALLOW_SHARING": "true"}
        async with serving(tmp_path_factory.mktemp("sharing"), settings) as parley:
            yield Faked(parley, server)


@pytest.fixture
async def chat_page(sharing: Faked, page: Page) -> Page:
    await open_page(page, sharing.parley)
    return page


async def ask(faked: Faked, page: Page, question: str, reply: str) -> None:
    faked.will_reply(sse(*answer(reply)))
    await say(page, question)
    await expect(answer_of(page)).to_contain_text(reply)
    await finished(page)


async def rate(page: Page, button: str, comment: str = "") -> None:
    await page.locator(f".{button}-feedback-off").last.click()
    if comment:
        await page.get_by_role("dialog").locator("textarea").fill(comment)
    await page.locator("#submit-feedback").click()
    await expect(page.locator(f".{button}-feedback-on")).to_be_visible()


async def test_search_finds_the_words_of_an_answer(sharing: Faked, chat_page: Page) -> None:
    await ask(sharing, chat_page, "Which animal?", "A marvellous pangolin.")
    await new_chat(chat_page)
    await ask(sharing, chat_page, "Which plant?", "A fern.")
    await chat_page.locator("#search-chats-button").click()
    await chat_page.get_by_role("dialog").locator("input").fill("pangolin")
    found = chat_page.get_by_role("dialog").get_by_role("option")
    await expect(found).to_have_count(1)
    await expect(found).to_contain_text("Which animal?")
    await shot(chat_page, "search-desktop-light")
    await found.click()
    await expect(answer_of(chat_page)).to_contain_text("pangolin")


async def test_a_rating_stays_and_can_be_changed(sharing: Faked, chat_page: Page) -> None:
    await ask(sharing, chat_page, "Rate me", "Gladly.")
    await rate(chat_page, "positive", "as it should be")
    await load_again(chat_page)
    await expect(chat_page.locator(".positive-feedback-on")).to_be_visible()
    await shot(chat_page, "rated-desktop-light")
    await rate(chat_page, "negative")
    await until(lambda: kept_values(sharing) == [0])
    await load_again(chat_page)
    await chat_page.locator(".negative-feedback-on").click()
    await expect(chat_page.locator(".negative-feedback-on")).to_have_count(0)
    await expect(chat_page.locator(".negative-feedback-off")).to_have_count(1)
    await until(lambda: not kept_values(sharing))


def kept_values(faked: Faked) -> list[int]:
    return [value for (value,) in select(faked.parley, "SELECT value FROM feedbacks")]


async def test_every_answer_has_its_own_rating(sharing: Faked, chat_page: Page) -> None:
    await ask(sharing, chat_page, "One", "First.")
    await ask(sharing, chat_page, "Two", "Second.")
    await expect(chat_page.locator(".positive-feedback-off")).to_have_count(2)
    await rate(chat_page, "positive")
    await expect(chat_page.locator(".positive-feedback-off")).to_have_count(1)
    rated = select(
        sharing.parley,
        "SELECT steps.output FROM feedbacks JOIN steps ON steps.id = feedbacks.step_id",
    )
    assert rated == [("Second.",)]


async def test_a_favourite_is_at_hand_in_a_new_chat(sharing: Faked, chat_page: Page) -> None:
    await ask(sharing, chat_page, "Keep this question", "Kept.")
    await question_of(chat_page).hover()
    await chat_page.locator(".favorite-message").click()
    await expect(chat_page.locator(".favorite-message.text-yellow-500")).to_be_visible()
    await shot(chat_page, "favourite-desktop-light")
    await load_again(chat_page)
    await expect(chat_page.locator(".favorite-message.text-yellow-500")).to_be_visible()
    await new_chat(chat_page)
    await chat_page.locator(".favorite-popover-wrapper button").click()
    await chat_page.get_by_role("option").get_by_text("Keep this question").click()
    await expect(chat_page.locator("#chat-input")).to_have_text("Keep this question")


async def test_sharing_shows_the_thread_until_it_ends(
    sharing: Faked, chat_page: Page, chromium: Browser
) -> None:
    await chat_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await ask(sharing, chat_page, "Show this around", "To everybody: it is public.")
    link = f"{sharing.parley.url}/share/{await thread_of(chat_page)}"
    async with stranger(chromium) as context:
        other = await context.new_page()
        await other.goto(link)
        await expect(other).not_to_have_url(link)
        assert "public" not in await other.inner_text("body")
        await share(chat_page, "Share", "Share link created!")
        await other.goto(link)
        await expect(other.get_by_text("To everybody: it is public.")).to_be_visible()
        await shot(other, "shared-desktop-light")
        await chat_page.keyboard.press("Escape")
        await share(chat_page, "Unshare", "Sharing disabled for this thread")
        await other.goto(link)
        await expect(other).not_to_have_url(link)
        assert "public" not in await other.inner_text("body")


async def share(page: Page, button: str, told: str) -> None:
    """Press a button of the dialog that shares, and wait until the page says that it is done."""
    await page.locator("#header button:has(svg[class*=lucide-share])").click()
    await page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    await expect(page.get_by_text(told)).to_be_visible()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_rated_answers_look_right(
    sharing: Faked, chromium: Browser, size: str, theme: str
) -> None:
    width, height = SIZES[size]
    async with stranger(chromium, width, height, theme) as context:
        page = await context.new_page()
        await open_page(page, sharing.parley)
        await ask(sharing, page, "What is a turn?", "A question and all up to its answer.")
        await rate(page, "positive", "clear")
        await shot(page, f"rated-{size}-{theme}")
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, "nothing sticks out at the side"


async def test_a_list_from_before_the_first_message_hides_no_thread(
    sharing: Faked, page: Page
) -> None:
    """On a slow line it may come after the one that has the thread."""
    held, goes_on, come = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if held.is_set():
            await route.continue_()
            return
        held.set()
        before = await route.fetch()
        await goes_on.wait()
        await route.fulfill(response=before)
        come.set()

    await page.route("**/project/threads", hold)
    await open_page(page, sharing.parley)
    await ask(sharing, page, "Am I listed?", "You are.")
    listed = page.locator("#thread-history").get_by_text("Am I listed?")
    await expect(listed).to_be_visible()
    goes_on.set()
    await until(come.is_set)
    await page.wait_for_load_state("networkidle")
    await expect(listed).to_be_visible()


async def test_open_pages_show_the_names_that_threads_get(tmp_path: Path, page: Page) -> None:
    """The model's, in the background, and one by hand, which wins; nobody reloads."""
    named = asyncio.Event()
    async with (
        model_server(
            sse(*answer("A marsupial.")),
            sse(wait(named), *answer("Too late")),
            sse(*answer("Others.")),
            sse(*answer('"Wombats, shortly"')),
        ) as server,
        serving(tmp_path, asks(server) | {"MODEL_TITLES": "true"}) as parley,
    ):
        await open_page(page, parley)
        await say(page, "What is a quokka?")
        await expect(answer_of(page)).to_contain_text("A marsupial.")
        sidebar = page.locator("#thread-history")
        await expect(sidebar).to_contain_text("What is a quokka?")
        await until(lambda: len([asked for asked in server.requests if asked.body]) == 2)
        assert "You name conversations" in server.requests[-1].json["messages"][0]["content"]
        other = await page.context.new_page()
        await open_page(other, parley)
        await say(other, "And a wombat?")
        await expect(answer_of(other)).to_contain_text("Others.")
        for each in (sidebar, other.locator("#thread-history")):
            await expect(each).to_contain_text("Wombats, shortly")
            await expect(each).to_contain_text("What is a quokka?")
        first = await thread_of(page)
        renamed = await page.request.patch(
            f"{parley.url}/api/v1/conversations/{first}", data={"title": "By hand"}
        )
        assert renamed.ok
        named.set()
        for each in (sidebar, other.locator("#thread-history")):
            await expect(each).to_contain_text("By hand")
        read = await page.request.get(f"{parley.url}/api/v1/conversations?limit=5")
        assert {each["title"] for each in (await read.json())["data"]} == {
            "By hand",
            "Wombats, shortly",
        }
        assert select(parley, "SELECT count(*) FROM turns") == [(2,)]
        await shot(page, "named")
