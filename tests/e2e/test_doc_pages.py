"""The playground and the API's own description in a real browser, with nothing from elsewhere."""

import asyncio
import re

import httpx2
import pytest
from playwright.async_api import ConsoleMessage, Error, Page, Request, expect

from tests.e2e.conftest import Faked
from tests.e2e.support import answers, client_of
from tests.e2e.test_page import SIZES, shot
from tests.fakes.model_server import answer, chunk, sse, wait
from tests.patience import until

pytestmark = pytest.mark.needs_browser


def watched(page: Page) -> list[str]:
    """Collect what goes wrong in the page, and what it asks of other hosts."""
    trouble: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error":
            trouble.append(said.text)

    def look(asked: Request) -> None:
        if not asked.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            trouble.append(asked.url)

    def fail(error: Error) -> None:
        trouble.append(str(error))

    page.on("console", hear)
    page.on("request", look)
    page.on("pageerror", fail)
    return trouble


@pytest.mark.parametrize("door", ["ws", "sse"])
async def test_the_playground_sends_shows_and_stops(faked: Faked, page: Page, door: str) -> None:
    trouble = watched(page)
    faked.will_reply(
        sse(chunk("😀 some"), *answer(" text")), sse(chunk("never"), wait(asyncio.Event()))
    )
    await page.goto(f"{faked.parley.url}/playground")
    await page.locator("#door").select_option(door)
    await page.locator("#send").click()
    await expect(page.locator("#state")).to_have_text("Done: stop")
    await expect(page.locator("#answer")).to_have_text("😀 some text")
    await expect(page.locator("#timings")).to_contain_text("first text")
    await expect(page.locator("#events")).to_contain_text("turn_start")
    for name, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        await shot(page, f"playground-{door}-{name}")
    await page.locator("#message").fill("Again")
    await page.locator("#send").click()
    await expect(page.locator("#answer")).to_have_text("never")
    await page.locator("#stop").click()
    await expect(page.locator("#state")).to_have_text("Done: stopped")
    await until(lambda: answers(faked.parley)[-1] == ("stopped", "stopped", "never"))
    seen = faked.server.requests[-1].json["messages"]
    assert [m["content"] for m in seen][-2:] == ["😀 some text", "Again"], "one conversation"
    assert trouble == []


@pytest.mark.parametrize("path", ["/docs", "/api/docs", "/api/redoc"])
async def test_the_api_describes_itself(faked: Faked, page: Page, path: str) -> None:
    trouble = watched(page)
    await page.goto(faked.parley.url + path)
    said = page.get_by_text("Send a message, stream the answer").filter(visible=True)
    await expect(said.first).to_be_visible()
    await shot(page, path.strip("/").replace("/", "-"))
    # ReDoc asks for the logo of who made it: the policy keeps it away.
    assert [said for said in trouble if "redoc" not in said.lower()] == []


async def test_the_pages_may_load_from_here_only(faked_client: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/api/docs", "/api/redoc", "/playground"):
        response = await faked_client.get(path)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src '")
        scripts = policy.split("script-src ")[1].split(";")[0]
        own = re.fullmatch("'sha256-[A-Za-z0-9+/=]{44}'", scripts)
        assert own if path == "/playground" else scripts == "'self'"
        assert policy.endswith("frame-ancestors 'self'")
        assert not re.search(r"""(src|href)=["']?[a-z]*:?//""", response.text)


async def test_the_playground_is_one_file(faked: Faked, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(faked.parley.url)))
    await page.goto(f"{faked.parley.url}/playground", wait_until="networkidle")
    assert set(asked) - {"/favicon"} == {"/playground", "/api/v1/models"}


async def test_a_guest_is_the_same_in_both_pages(faked: Faked, page: Page) -> None:
    faked.will_reply(sse(*answer("both")))
    await page.goto(f"{faked.parley.url}/playground")
    await page.locator("#send").click()
    await expect(page.locator("#state")).to_have_text("Done: stop")
    (cookie,) = [c for c in await page.context.cookies() if c.get("name") == "parley_guest"]
    async with client_of(faked.parley) as client:
        headers = {"cookie": f"parley_guest={cookie.get('value')}"}
        listed = (await client.get("/api/v1/conversations", headers=headers)).json()["data"]
    assert [one["title"] for one in listed] == ["What is a turn?"]
