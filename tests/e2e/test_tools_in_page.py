"""Tools and images in the page: shown while they happen, kept, and never a way in."""

import json
import os
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from parley.fake_server.server import ScriptedServer
from tests.e2e.page_socket import new_guest
from tests.e2e.support import select, serving
from tests.e2e.test_page import (
    SIZES,
    answer_of,
    finished,
    load_again,
    open_page,
    say,
    shot,
)
from tests.e2e.visit import chart, visit
from tests.fakes.web import Web, page_of, web
from tests.patience import until
from tests.unit.fake_server.support import scripted

pytestmark = pytest.mark.needs_browser

SCRIPT = """
[[reply]]
text = "Let me look."
[[reply.tool_calls]]
name = "web_search"
arguments = '{"query": "cats"}'
id = "a"
[[reply.tool_calls]]
name = "read_page"
arguments = '{"url": "%(page)s"}'
id = "b"
[[reply.tool_calls]]
name = "read_page"
arguments = '{"url": "http://169.254.169.254/"}'
id = "c"
[[reply]]
text = '''
They purr, says [the page](https://cats.example/purr).[^1]

| Loudness of the first | Loudness of the second | Loudness of the third | Loudness of the fourth | Loudness of them all |
|---|---|---|---|---|
| a | b | c | d | unquestionably |

- قطة

[^1]: And the vet.
'''
"""
EVIL = '<img src="%(beacon)s"> ![x](%(beacon)s) <script>document.title = "gone"</script> **purr**'


async def test_tools_are_shown_live_and_in_the_history(page: Page, tmp_path: Path) -> None:
    found = {
        "results": [{"title": "Purr [x](y)", "url": "https://cats.example/purr", "content": ""}]
    }
    pages = {"/search": page_of(json.dumps(found), "application/json")}
    async with (
        web(pages) as site,
        scripted(SCRIPT % {"page": site.url("/cats")}) as server,
        serving(tmp_path, settings_of(server, site)) as parley,
    ):
        site.pages["/cats"] = page_of(EVIL % {"beacon": site.url("/beacon.png")}, "text/plain")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await open_page(page, parley)
        await say(page, "What about cats?")
        await expect(answer_of(page)).to_contain_text("They purr")
        await finished(page)
        await assert_steps(page)
        await load_again(page)
        await expect(answer_of(page)).to_contain_text("They purr")
        await assert_steps(page)
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            await shot(page, f"tools-{name}")
        await assert_readable(page)
        assert not any("/avatars/" in url and "Searching" in url for url in asked)
        assert not any("/beacon.png" in head for head in site.seen)
        assert await page.title() != "gone"
        assert "tools" in server.requests[-1].json
        await page.locator("#chat-settings-open-modal").click()
        await page.get_by_role("switch").click()
        await page.locator("#confirm").click()
        await expect(page.get_by_text("The settings hold")).to_be_visible()
        await say(page, "And now?")
        await finished(page)
        await until(lambda: b"And now?" in server.requests[-1].body)
        assert "tools" not in server.requests[-1].json


def settings_of(server: ScriptedServer, site: Web) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_MODEL": "gpt-4o-mini",
        "SEARXNG_URL": site.url("").rstrip("/"),
        "TOOL_NETWORKS": "127.0.0.1/32",
        "TOOL_PORTS": str(site.port),
    }


async def assert_readable(page: Page) -> None:
    """On a phone: whole words, notes in their place, and each list in its own direction."""
    wider = "table => table.scrollWidth - table.parentElement.clientWidth"
    assert await answer_of(page).locator("table").evaluate(wider) > 0, "it is scrolled"
    direction = "list => getComputedStyle(list).direction"
    assert await answer_of(page).get_by_role("list").first.evaluate(direction) == "rtl"
    await answer_of(page).locator("sup a").click()
    await expect(answer_of(page).get_by_text("And the vet.")).to_be_in_viewport()
    assert len(page.context.pages) == 1
    word = page.locator("button[id^=step-] > span").first
    one_line = "word => word.getBoundingClientRect().height"
    assert await word.evaluate(one_line) < 30, "it is not squeezed"


async def assert_steps(page: Page) -> None:
    steps = page.locator("[data-step-type]")
    kinds = await steps.evaluate_all("steps => steps.map((step) => step.dataset.stepType)")
    assert kinds == ["user_message", "tool", "tool", "tool", "assistant_message"]
    search = page.get_by_text("web_search: Searching the web for “cats”")
    await expect(search).to_be_visible()
    await search.click()
    link = page.get_by_role("link", name="Purr [x](y)")
    await expect(link).to_have_attribute("href", "https://cats.example/purr")
    await expect(page.get_by_role("link", name="the page")).to_be_visible()
    await page.get_by_text("read_page: Reading http://127.0.0.1").click()
    await expect(page.get_by_text("<script>document.title")).to_be_visible()
    await page.get_by_text("read_page: Reading http://169.254").click()
    await expect(page.get_by_text("is not on the public internet")).to_be_visible()


@pytest.mark.parametrize("sees", [True, False])
async def test_image_reaches_a_model_that_sees(tmp_path: Path, *, sees: bool) -> None:
    (tmp_path / "parley.toml").write_text(
        f'[models.m]\nprovider = "openai"\nmodel = "m"\nvision = {str(sees).lower()}\n'
    )
    async with scripted() as server:
        settings = {"OPENAI_BASE_URL": server.base_url, "DEFAULT_MODEL": "m"}
        settings["PARLEY_CONFIG"] = str(tmp_path / "parley.toml")
        async with (
            serving(tmp_path, settings) as parley,
            visit(parley, await new_guest(parley)) as visited,
        ):
            element = await visited.attached(chart(), "chart.png", "image/png")
            assert element["type"] == "image"
            await until(lambda: bool(server.requests))
            assert (b"data:image/png;base64," in server.requests[0].body) is sees
            # What calls itself an image and is none stays a file.
            await visited.attached(os.urandom(99), "x.png", "image/png")
            assert "read no other files" in (await visited.socket.next("toast"))["message"]
            await until(lambda: len(server.requests) == 2)
            assert b"data:image" not in server.requests[1].body
            # What is asked in other words is asked about the same image.
            completed = "SELECT id FROM turns WHERE state = 'completed'"
            await until(lambda: len(select(parley, completed)) == 2)
            edited = {"id": element["forId"], "output": "Look again.", "type": "user_message"}
            await visited.socket.emit("edit_message", {"message": edited})
            await until(lambda: len(server.requests) == 3)
            assert (b"data:image/png;base64," in server.requests[2].body) is sees
