"""The page in a real browser: a message is a turn, and the turn outlives the page."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, FrameLocator, Locator, Page, Route, expect

from tests.e2e.conftest import Faked
from tests.e2e.line import Line, line_to
from tests.e2e.support import answers, select, serving
from tests.fakes.model_server import answer, chunk, cut, hang, json_reply, sse, wait
from tests.models.llama_server import llama_process
from tests.patience import eventually, until
from tests.server import ParleyProcess

pytestmark = pytest.mark.needs_browser

ARTEFACTS = Path(__file__).parents[1] / ".artefacts"
MARKDOWN = """\
A **turn** is a user message and all up to its final answer:

1. it is *written* first,
2. then `streamed`.

```python
async for event in engine.follow(turn):
    print(event)
```

| state | over |
|---|---|
| running | no |
| completed | yes |
"""
FORMULAS = r"""
It takes $t = \frac{n}{v}$ for $5 or $6 a month:

\[
\sum_{i=1}^{n} x_i^2 \le \int_0^\infty e^{-x}\,dx
\]

$$\begin{aligned} a &= b:c \\ d &= \$5 \end{aligned}$$
"""
THREAD = re.compile("/thread/")
SOME_FRAMES = """() => new Promise((done) => {
    const wait = (frames) => frames ? requestAnimationFrame(() => wait(frames - 1)) : done();
    wait(4);
})"""
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture
async def chat_page(faked: Faked, page: Page) -> Page:
    await open_page(page, faked.parley)
    return page


async def open_page(page: Page, parley: ParleyProcess | Line, path: str = "/") -> None:
    await page.goto(parley.url + path)
    await expect(page.locator("#chat-input")).to_be_visible()
    await settled(page)


async def settled(page: Page | FrameLocator) -> None:
    """The page does not change by itself any more.

    What offers models comes over the socket; and two frames after it has a new address, it is built anew.
    """
    picker = page.locator("#mode-picker-trigger-model")
    await expect(picker).to_be_enabled()
    await picker.evaluate(SOME_FRAMES)


async def say(page: Page, text: str) -> None:
    if await page.locator("[data-step-type=user_message]").count():
        await expect(page).to_have_url(THREAD)
    await settled(page)
    await page.locator("#chat-input").fill(text)
    await page.locator("#chat-submit").click()


async def new_chat(page: Page) -> None:
    await page.locator("#new-chat-button").click()
    await expect(page).not_to_have_url(THREAD)
    await expect(page.locator("[data-step-type=user_message]")).to_have_count(0)
    await settled(page)


async def thread_of(page: Page) -> str:
    """The id of its thread, once the page has its address."""
    await expect(page).to_have_url(THREAD)
    return page.url.rpartition("/")[2]


def answer_of(page: Page) -> Locator:
    return page.locator("[data-step-type=assistant_message]").last


def question_of(page: Page) -> Locator:
    return page.locator("[data-step-type=user_message]").last


async def finished(page: Page) -> None:
    """The composer is free again."""
    await expect(page.locator("#stop-button")).to_have_count(0)


async def load_again(page: Page) -> None:
    """Reload the page of a thread, once it has that thread's address."""
    await expect(page).to_have_url(THREAD)
    await page.reload()


async def shot(page: Page, name: str) -> None:
    await asyncio.to_thread(ARTEFACTS.mkdir, exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png", animations="disabled")


async def test_a_message_is_answered_by_a_real_model(
    page: Page, tiny_model: Path, tmp_path: Path
) -> None:
    with llama_process(tiny_model) as base_url:
        async with serving(tmp_path, {"OPENAI_BASE_URL": base_url}) as parley:
            await open_page(page, parley)
            await say(page, "What is a thread?")
            await expect(question_of(page)).to_contain_text("What is a thread?")
            await expect(answer_of(page)).to_have_text(re.compile(r"\w+.*\.\s*$", re.DOTALL))
            await finished(page)
            ((state, _, text),) = answers(parley)
            assert state == "completed"
            await expect(answer_of(page)).to_have_text(text, use_inner_text=True)


async def test_text_streams_and_stop_stops(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(chunk("Once upon"), hang))
    await say(chat_page, "Tell me a story.")
    await expect(answer_of(chat_page)).to_contain_text("Once upon")
    await chat_page.locator("#stop-button").click()
    await until(faked.server.left.is_set)
    await finished(chat_page)
    await until(lambda: answers(faked.parley)[-1] == ("stopped", "stopped", "Once upon"))
    await load_again(chat_page)
    await expect(answer_of(chat_page)).to_contain_text("Once upon")
    assert "manually stopped" not in await chat_page.inner_text("body")


@pytest.mark.parametrize("sidebar", ["open", "closed", "phone"])
async def test_an_answer_goes_on_over_a_reload(faked: Faked, chat_page: Page, sidebar: str) -> None:
    """Wherever Chainlit's list is: it would give the new thread its address."""
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("Once upon"), wait(gate), *answer(" a time.")))
    width, height = SIZES["phone" if sidebar == "phone" else "desktop"]
    await chat_page.set_viewport_size({"width": width, "height": height})
    if sidebar == "closed":
        await chat_page.locator("#sidebar-trigger-button").click()
    await say(chat_page, "Tell me a story.")
    await expect(answer_of(chat_page)).to_contain_text("Once upon")
    await load_again(chat_page)
    await expect(answer_of(chat_page)).to_contain_text("Once upon")
    await expect(chat_page.locator("#stop-button")).to_be_visible()
    gate.set()
    await expect(answer_of(chat_page)).to_contain_text("Once upon a time.")
    await finished(chat_page)
    await chat_page.reload()
    await expect(answer_of(chat_page)).to_contain_text("Once upon a time.")
    await expect(chat_page.locator("[data-step-type=assistant_message]")).to_have_count(1)
    assert len(faked.server.requests) == 1


async def test_a_new_chat_has_its_address_at_once(faked: Faked, chat_page: Page) -> None:
    """Chainlit's list, which would give it late, is being fetched all the while."""
    listed = asyncio.Event()
    sockets: list[str] = []
    chat_page.on("websocket", lambda socket: sockets.append(socket.url))

    async def hold(route: Route) -> None:
        await listed.wait()
        await route.continue_()

    await chat_page.route("**/project/threads", hold)
    faked.will_reply(sse(*answer("hm")))
    await say(chat_page, "first thread")
    await expect(answer_of(chat_page)).to_contain_text("hm")
    await expect(chat_page).to_have_url(THREAD)
    await finished(chat_page)
    assert sockets == [], "the page goes on as it is"
    await chat_page.locator("#new-chat-button").click()
    await expect(chat_page.locator("[data-step-type=user_message]")).to_have_count(0)
    listed.set()
    sidebar = chat_page.locator("#thread-history")
    await expect(sidebar.get_by_text("first thread").first).to_be_visible()
    await expect(chat_page).not_to_have_url(THREAD)
    await say(chat_page, "second thread")
    await expect(answer_of(chat_page)).to_contain_text("hm")
    assert "first thread" not in faked.server.requests[-1].body.decode()


@pytest.mark.parametrize("back", ["before the end", "after the end"])
async def test_a_lost_connection_loses_no_text(faked: Faked, page: Page, back: str) -> None:
    gate = asyncio.Event()
    faked.will_reply(sse(chunk("Once upon"), wait(gate), *answer(" a time.")))
    async with line_to(faked.parley) as line:
        await open_page(page, line)
        await say(page, "Tell me a story.")
        await expect(answer_of(page)).to_contain_text("Once upon")
        await line.cut()
        if back == "before the end":
            await line.mend()
        gate.set()
        await until(lambda: answers(faked.parley)[-1][0] == "completed")
        await line.mend()
        await expect(answer_of(page)).to_contain_text("Once upon a time.")
        await finished(page)
        for kind in ("user_message", "assistant_message"):
            await expect(page.locator(f"[data-step-type={kind}]")).to_have_count(1)


async def test_an_error_is_shown_with_its_request_id(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(json_reply({"error": {"message": "boom"}}, 500))
    await say(chat_page, "hi")
    await expect(chat_page.get_by_text("Request id:")).to_be_visible()
    await finished(chat_page)
    shown = re.search(r"Request id: (\w+)", await chat_page.inner_text("body"))
    assert shown
    assert f"[{shown[1]}]" in faked.parley.log_text()
    await shot(chat_page, "error-desktop-light")


async def test_a_cut_answer_keeps_its_text(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(chunk("Half an"), cut))
    await say(chat_page, "hi")
    await expect(chat_page.get_by_text("Half an")).to_be_visible()
    ids = await (error := chat_page.get_by_text("Request id:")).inner_text()
    await load_again(chat_page)
    await expect(chat_page.get_by_text("Half an")).to_be_visible()
    await expect(error).to_have_text(ids, use_inner_text=True)


async def test_history_is_listed_resumed_renamed_and_deleted(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(*answer("It is ", "a turn.")))
    await say(chat_page, "What is a turn?")
    await finished(chat_page)
    sidebar = chat_page.locator("#thread-history")
    await expect(sidebar.get_by_text("What is a turn?")).to_be_visible()
    await load_again(chat_page)
    await expect(answer_of(chat_page)).to_contain_text("It is a turn.")
    await expect(sidebar.get_by_text("What is a turn?")).to_be_visible()

    await thread_option(chat_page, "#rename-thread")
    await chat_page.get_by_role("dialog").locator("input").fill("About turns")
    await chat_page.keyboard.press("Enter")
    await expect(sidebar.get_by_text("About turns").first).to_be_visible()
    await chat_page.reload()
    await expect(sidebar.get_by_text("About turns")).to_be_visible()

    await thread_option(chat_page, "#delete-thread")
    await chat_page.get_by_role("alertdialog").get_by_role("button", name="Confirm").click()
    await expect(sidebar.get_by_text("About turns")).to_have_count(0)
    await expect(chat_page.locator("[data-step-type]")).to_have_count(0)
    await chat_page.reload()
    await expect(chat_page.locator("#chat-input")).to_be_visible()
    await expect(chat_page.get_by_text("About turns")).to_have_count(0)
    assert select(faked.parley, "SELECT 1 FROM threads WHERE name = 'About turns'") == []


async def test_a_new_chat_is_another_thread(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(*answer("hm")))
    await say(chat_page, "first thread")
    await expect(answer_of(chat_page)).to_contain_text("hm")
    await finished(chat_page)
    await new_chat(chat_page)
    await say(chat_page, "second thread")
    await expect(answer_of(chat_page)).to_contain_text("hm")
    await finished(chat_page)
    assert "first thread" not in faked.server.requests[-1].body.decode()
    sidebar = chat_page.locator("#thread-history")
    await sidebar.get_by_text("first thread").click()
    await expect(question_of(chat_page)).to_contain_text("first thread")


async def test_another_guest_sees_nothing_of_it(
    faked: Faked, chat_page: Page, chromium: Browser
) -> None:
    faked.will_reply(sse(*answer("a secret answer")))
    await say(chat_page, "my secret question")
    await finished(chat_page)
    thread_id = await thread_of(chat_page)
    async with stranger(chromium) as context:
        other = await context.new_page()
        await open_page(other, faked.parley)
        assert "secret" not in await other.inner_text("body")
        await other.goto(chat_page.url)
        await expect(other.get_by_text("This conversation is not here").first).to_be_visible()
        assert "secret" not in await other.inner_text("body")
        await shot(other, "foreign-thread-desktop-light")
        for method, path, sent in (
            ("GET", f"/project/thread/{thread_id}", None),
            ("PUT", "/project/thread", {"threadId": thread_id, "name": "mine"}),
            ("DELETE", "/project/thread", {"threadId": thread_id}),
        ):
            got = await context.request.fetch(faked.parley.url + path, method=method, data=sent)
            assert got.status >= 400
            assert "secret" not in await got.text()
    await load_again(chat_page)
    await expect(answer_of(chat_page)).to_contain_text("a secret answer")


async def test_a_page_whose_cookie_is_gone_is_told(faked: Faked, chat_page: Page) -> None:
    faked.will_reply(sse(*answer("hm")))
    await chat_page.context.clear_cookies()
    await open_page(chat_page, faked.parley)
    await say(chat_page, "a new guest")
    await expect(answer_of(chat_page)).to_contain_text("hm")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_looks_right(faked: Faked, chromium: Browser, size: str, theme: str) -> None:
    faked.will_reply(sse(*answer(*re.findall(r"\S+\s*", MARKDOWN + FORMULAS))))
    width, height = SIZES[size]
    async with stranger(chromium, width, height, theme) as context:
        page = await context.new_page()
        problems: list[str] = []
        asked: list[str] = []
        page.on(
            "console", lambda said: problems.append(said.text) if said.type == "error" else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        await open_page(page, faked.parley)
        await shot(page, f"welcome-{size}-{theme}")
        await say(page, "What is a turn?")
        await expect(answer_of(page).locator("table")).to_be_visible()
        await finished(page)
        await expect(answer_of(page)).to_contain_text("for $5 or $6 a month")
        await expect(answer_of(page).locator(".katex-display")).to_have_count(2)
        # Not by `wait_for_function`: it evaluates a text again and again, which the page's policy forbids.
        await eventually(lambda: page.evaluate("document.fonts.check('16px KaTeX_Main')"))
        await shot(page, f"chat-{size}-{theme}")
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, "nothing sticks out at the side"
        assert problems == []
        own = (faked.parley.url, "data:", "blob:", "ws://127.0.0.1:")
        assert [url for url in asked if not url.startswith(own)] == [], "nobody else is asked"


class stranger:  # noqa: N801 - used like a function
    """A browser profile of its own: another guest."""

    def __init__(
        self, chromium: Browser, width: int = 1280, height: int = 800, theme: str = "light"
    ) -> None:
        self._new = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
        )

    async def __aenter__(self) -> BrowserContext:
        self._context = await self._new
        return self._context

    async def __aexit__(self, *_: object) -> None:
        await self._context.close()


async def thread_option(page: Page, option: str) -> None:
    thread = page.locator("#thread-history a").first
    await thread.hover()
    await page.locator("#thread-options").first.click()
    await page.locator(option).click()


async def test_colons_take_no_text_away(faked: Faked, chat_page: Page) -> None:
    said = ["pull ngi", "nx:lat", "est, then Dict[str", ":int] and `a:b` http://a/b:c", FORMULAS]
    faked.will_reply(sse(*answer(*said)))
    await say(chat_page, "Say :this")
    whole = "pull nginx:latest, then Dict[str:int] and a:b http://a/b:c"
    await expect(answer_of(chat_page)).to_contain_text(whole)
    await finished(chat_page)
    assert answers(faked.parley)[-1] == ("completed", "stop", "".join(said))
    await load_again(chat_page)
    await expect(answer_of(chat_page)).to_contain_text(whole)
    await expect(answer_of(chat_page).locator(".katex")).to_have_count(3)
    await expect(question_of(chat_page)).to_contain_text("Say :this")
    await chat_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await chat_page.locator("button:has(svg.lucide-copy)").last.click()
    await expect(chat_page.locator("button:has(svg.lucide-check)")).to_be_visible()
    assert await chat_page.evaluate("navigator.clipboard.readText()") == "".join(said)


async def test_an_image_is_fetched_from_no_other_host(faked: Faked, chat_page: Page) -> None:
    beacon = f"{faked.server.root}/beacon.png?secret=1"
    faked.will_reply(sse(*answer(f"![secret]({beacon}) is all.")))
    await say(chat_page, "Show me.")
    link = answer_of(chat_page).get_by_role("link", name="secret")
    await expect(link).to_have_attribute("href", beacon)
    await finished(chat_page)
    assert not [request for request in faked.server.requests if "beacon" in request.path]
