"""The page for everybody: axe finds nothing serious, wherever one comes, at any width, in both themes."""

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.axe import assert_open_to_all
from tests.e2e.conftest import Faked
from tests.e2e.support import PATIENT, serving
from tests.e2e.test_page import (
    FORMULAS,
    MARKDOWN,
    SIZES,
    SOME_FRAMES,
    answer_of,
    finished,
    load_again,
    open_page,
    say,
    settled,
    stranger,
    thread_option,
)
from tests.fakes.model_server import (
    DONE,
    answer,
    chunk,
    delta,
    finish,
    hang,
    json_reply,
    model_server,
    sse,
    usage,
)
from tests.fakes.web import page_of, web

pytestmark = pytest.mark.needs_browser

TOML = """
[models.small]
provider = "openai"
label = "A small one with a name that is longer than a phone is wide, instruct v0.3"
tools = true

[models.away]
provider = "openai"
base_url = "http://127.0.0.1:9/v1"

[[profiles]]
label = "Plain"

[[profiles]]
label = "Translator into every language there is"
description = "Translates what you write."

[[starters]]
label = "Explain what nobody has explained, in a sentence that is longer than a phone is wide"
message = "Explain."
"""
# More than the list of models has room for.
MODELS = "".join(
    f'[models.m{n}]\nprovider = "openai"\nlabel = "m{n}"\ntools = true\n' for n in range(2, 9)
)


@pytest.fixture(scope="module")
async def crowded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley with everything that its page can show."""
    found = {"results": [{"title": "Purr", "url": "https://cats.example/", "content": "Cats."}]}
    directory = tmp_path_factory.mktemp("crowded")
    (directory / "parley.toml").write_text(TOML + MODELS)
    async with (
        web({"/search": page_of(json.dumps(found), "application/json")}) as site,
        model_server() as server,
    ):
        settings = PATIENT | {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "fake"}
        settings |= {"SEARXNG_URL": site.url("").rstrip("/"), "TOOL_NETWORKS": "127.0.0.1/32"}
        settings |= {"TOOL_PORTS": str(site.port), "ALLOW_SHARING": "true", "ALLOW_GUESTS": "true"}
        settings |= {"OAUTH_GITHUB_CLIENT_ID": "id", "OAUTH_GITHUB_CLIENT_SECRET": "secret"}
        async with serving(directory, settings) as parley:
            yield Faked(parley, server)


def tool_calls() -> bytes:
    """Two of Parley's tools are called, one of them for what may not be read."""
    asked = {"web_search": {"query": "cats"}, "read_page": {"url": "http://169.254.169.254/"}}
    return delta(
        {
            "tool_calls": [
                {
                    "index": number,
                    "id": name,
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for number, (name, arguments) in enumerate(asked.items())
            ]
        }
    )


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
async def test_axe_finds_nothing_serious(
    chromium: Browser, crowded: Faked, size: str, scheme: str
) -> None:
    crowded.will_reply(
        sse(chunk("Let me look."), tool_calls(), finish("tool_calls"), usage(), DONE),
        sse(*answer(MARKDOWN, FORMULAS)),
        json_reply({"error": {"message": "It is broken."}}, 400),
        sse(chunk("Once upon"), hang),
    )
    async with stranger(chromium, *SIZES[size], scheme) as context:
        page = await context.new_page()
        for path in ("/login", "/playground"):
            await page.goto(crowded.parley.url + path)
            await assert_open_to_all(page)
        await open_page(page, crowded.parley)
        await assert_open_to_all(page)
        await look_around(page)
        await choose_by_keys(page)
        await page.locator("input[type=file]").first.set_input_files(
            {"name": "x.exe", "mimeType": "application/x-msdownload", "buffer": b"MZ"}
        )
        await expect(page.get_by_text("Files of this kind are not taken.")).to_be_visible()
        await assert_open_to_all(page)
        await have_a_conversation(page)
        await assert_open_to_all(page)
        await assert_fits(page)
        await look_at_details(page)
        await look_at_dialogs(page)
        await choose_theme(page, "Light" if scheme == "dark" else "Dark")
        await assert_open_to_all(page)


async def look_around(page: Page) -> None:
    """What opens in a new chat, and is closed again by Escape."""
    opened = {
        "#mode-picker-trigger-model": "[id^=mode-picker-popover]",
        "#chat-profiles": "[role=listbox]",
        "#chat-settings-open-modal": "#system_prompt",
        "#user-nav-button": "[role=menu]",
        "#readme-button": "[role=dialog]",
    }
    for button, what in opened.items():
        await page.locator(button).click()
        await expect(page.locator(what)).to_be_visible()
        await assert_open_to_all(page)
        await escape(page, what)
        await expect(page.locator(button)).to_be_focused()


async def choose_by_keys(page: Page) -> None:
    """The keys reach every model, in sight and not below the end of the list."""
    picker, models = page.locator("#mode-picker-trigger-model"), page.locator("[cmdk-item]")
    await picker.press("Enter")
    await expect(models.first).to_be_visible()
    for _ in range(8):
        await page.keyboard.press("ArrowDown")
    await expect(models.last).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(picker).to_contain_text("m8")


async def escape(page: Page, what: str) -> None:
    """Press Escape until something is closed: what hovers beside it goes first."""
    while await page.locator(what).count():
        await page.keyboard.press("Escape")
        await page.evaluate(SOME_FRAMES)


async def have_a_conversation(page: Page) -> None:
    """One with tools, code, a table and formulas, a failure, and an answer that was stopped."""
    await say(page, "What about cats?")
    await expect(answer_of(page)).to_contain_text("A turn is")
    await finished(page)
    await say(page, "And now?")
    await expect(answer_of(page)).to_contain_text("It is broken.")
    await finished(page)
    await say(page, "Tell me a story.")
    await expect(answer_of(page)).to_contain_text("Once upon")
    await assert_open_to_all(page)
    await page.locator("#stop-button").click()
    await finished(page)
    await load_again(page)
    await expect(page.get_by_text("Stopped")).to_be_visible()
    await settled(page)
    for step in await page.locator("button[id^=step-]").all():
        await step.click()
    await expect(page.get_by_text("is not on the public internet")).to_be_visible()


async def assert_fits(page: Page) -> None:
    """Nothing sticks out at the side, and there is one place to scroll."""
    assert (
        await page.evaluate(
            """[...document.querySelectorAll("html, body, .overflow-y-auto")]
            .filter((one) => one.scrollWidth > one.clientWidth).length"""
        )
        == 0
    )
    assert await page.evaluate(
        """[...document.querySelectorAll(".overflow-y-auto:has(> .overflow-y-auto)")]
            .map((one) => one.scrollHeight - one.clientHeight)"""
    ) == [0]


async def look_at_details(page: Page) -> None:
    await page.locator("button:has(svg.lucide-info)").first.click()
    await expect(page.locator("#side-view-content")).to_be_visible()
    await assert_open_to_all(page)
    back = page.get_by_role("button", name="Go Back")
    await back.or_(page.get_by_role("button", name="Close", exact=True)).click()
    await expect(page.locator("#side-view-content")).to_have_count(0)


async def look_at_dialogs(page: Page) -> None:
    """The list of threads, its search, and what can be done with a thread."""
    is_phone = not await page.locator("#thread-history").is_visible()
    if is_phone:
        await page.get_by_role("button", name="Open sidebar").click()
    await expect(page.locator("#thread-history a")).to_be_visible()
    await assert_open_to_all(page)
    await page.get_by_role("button", name="Search", exact=True).click()
    await assert_open_to_all(page)
    await page.locator("[cmdk-input]").fill("nothing has this in it")
    await expect(page.locator("[cmdk-empty]")).to_be_visible()
    await assert_open_to_all(page)
    await page.keyboard.press("Escape")
    for option in ("rename", "share", "delete"):
        await thread_option(page, f"#{option}-thread")
        await expect(page.locator("[role=dialog], [role=alertdialog]").last).to_be_visible()
        await assert_open_to_all(page)
        await page.keyboard.press("Escape")
    await page.locator("#thread-history a").hover()
    await page.locator("#thread-options").click()
    await expect(page.locator("[role=menu]")).to_be_visible()
    await assert_open_to_all(page)
    await escape(page, "[role=menu]")
    if is_phone:
        await escape(page, "#thread-history")


async def choose_theme(page: Page, name: str) -> None:
    await page.get_by_role("button", name="Change the theme").click()
    await page.get_by_role("menuitem", name=name).click()
    await expect(page.locator("html")).to_have_class(name.lower())
