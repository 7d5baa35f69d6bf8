"""A Space: shown in another site's frame, in a real browser that keeps such frames' cookies apart."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from aiohttp import web
from playwright.async_api import (
    BrowserContext,
    FrameLocator,
    Page,
    async_playwright,
    expect,
)

from tests.conftest import BROWSER_ARGUMENTS, chromium_program
from tests.e2e.support import DEMO
from tests.e2e.test_page import settled
from tests.fakes.tls_proxy import Authority, tls_proxy
from tests.identity_services import oidc_provider, sign_in_at
from tests.server import ParleyProcess

pytestmark = pytest.mark.needs_browser

ALLOW_IN_FRAMES = '{"profile": {"cookie_controls_mode": 0}}'


@dataclass(frozen=True)
class Space:
    """Parley as a Space is: at an address of its own, and in the frame of another site's page."""

    url: str
    framing_url: str
    parley: ParleyProcess


@asynccontextmanager
async def framing_site(shown_url: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """A page on another site that shows this address in a frame, as huggingface.co does."""

    async def page(_: web.Request) -> web.Response:
        frame = f'<iframe src="{shown_url}" width="1200" height="700"></iframe>'
        return web.Response(text=f"<!doctype html><h1>Hub</h1>{frame}", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
async def space(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Space]:
    home = tmp_path_factory.mktemp("space")
    parley, authority = ParleyProcess(home), Authority(home)
    async with AsyncExitStack() as stack:
        tls = authority.server_context("127.0.0.1", "localhost")
        port = await stack.enter_async_context(tls_proxy(tls, parley.port))
        url = f"https://localhost:{port}"
        framing_url = await stack.enter_async_context(framing_site(url, tls))
        back = f"{url}/auth/oauth/huggingface/callback"
        provider = stack.enter_context(oidc_provider([back]))
        parley.environment |= DEMO | {
            "SPACE_HOST": f"localhost:{port}",
            "OAUTH_CLIENT_ID": "parley",
            "OAUTH_CLIENT_SECRET": provider.settings()["OAUTH_GENERIC_CLIENT_SECRET"],
            "OAUTH_SCOPES": "openid profile inference-api",
            "OPENID_PROVIDER_URL": provider.issuer,
            "FRAME_ANCESTORS": f"'self',{framing_url}",
        }
        await asyncio.to_thread(parley.start)
        stack.push_async_callback(asyncio.to_thread, parley.stop)
        yield Space(url, framing_url, parley)


@asynccontextmanager
async def visitor(home: Path, *, keeps_in_frames: bool) -> AsyncIterator[BrowserContext]:
    """A browser of its own, which lets framed sites keep something, or does not.

    Debian's Chromium does not by itself, nor does it in what Playwright calls a context.
    """
    if keeps_in_frames:
        await asyncio.to_thread((home / "Default").mkdir, parents=True)
        await asyncio.to_thread((home / "Default" / "Preferences").write_text, ALLOW_IN_FRAMES)
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            home,
            executable_path=chromium_program(),
            args=BROWSER_ARGUMENTS,
            ignore_https_errors=True,
            viewport={"width": 1280, "height": 800},
        )
        try:
            yield context
        finally:
            await context.close()


async def signs_in(tab: Page, name: str) -> None:
    await tab.locator("input[name=login]").fill(name)
    await tab.locator("input[name=password]").fill("x")
    await tab.locator("button[type=submit]").click()
    await tab.locator("input[value=consent]").wait_for(state="attached")
    await tab.locator("button[type=submit]").click()


async def opened_tab(context: BrowserContext, frame: FrameLocator) -> Page:
    async with context.expect_page() as opening:
        await frame.get_by_text("Sign in with Hugging Face").click()
    return await opening.value


async def chats_in(frame: FrameLocator, text: str) -> None:
    await settled(frame)
    await frame.locator("#chat-input").fill(text)
    await frame.locator("#chat-submit").click()
    await expect(frame.locator("[data-step-type=assistant_message]").last).to_be_visible()


async def test_who_signs_in_in_a_tab_goes_on_in_the_frame(space: Space, tmp_path: Path) -> None:
    async with visitor(tmp_path / "home", keeps_in_frames=True) as context:
        page = await context.new_page()
        await page.goto(space.framing_url)
        frame = page.frame_locator("iframe")
        tab = await opened_tab(context, frame)
        await signs_in(tab, "ann")
        await expect(tab.get_by_role("heading", name="You are signed in")).to_be_visible()
        await expect(frame.locator("#chat-input")).to_be_visible()
        await chats_in(frame, "said in the frame")
        await frame.locator("#user-nav-button").click()
        await expect(frame.get_by_text("Ann", exact=True)).to_be_visible()
        kept = [c for c in await context.cookies() if c["name"] == "__Host-parley_sign_in"]
        for cookie in kept:
            assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (
                True,
                True,
                "None",
            )
        partitions = {str(cookie.get("partitionKey")) for cookie in kept}
        assert len(partitions) == 2, "the tab's and the frame's are apart"
        await page.reload()
        await expect(frame.get_by_text("said in the frame").first).to_be_visible()


async def test_where_the_tab_cannot_tell_the_frame_its_code_is_typed(
    space: Space, tmp_path: Path
) -> None:
    """A provider may cut the tab off from the page that opened it (Cross-Origin-Opener-Policy)."""
    async with visitor(tmp_path / "home", keeps_in_frames=True) as context:
        page = await context.new_page()
        await page.goto(space.framing_url)
        frame = page.frame_locator("iframe")
        link = await frame.get_by_text("Sign in with Hugging Face").get_attribute("href")
        tab = await context.new_page()  # nobody opened it
        await tab.goto(f"{space.url}{link}")
        await signs_in(tab, "bob")
        code = await tab.locator("[data-frame-code]").inner_text()
        await frame.locator("input[name=code]").fill("AAAAA-AAAAA")
        await frame.get_by_role("button", name="Go on").click()
        await expect(frame.get_by_role("alert")).to_contain_text("wrong")
        await frame.locator("input[name=code]").fill(code.lower())
        await frame.get_by_role("button", name="Go on").click()
        await expect(frame.locator("#chat-input")).to_be_visible()
        assert code.replace("-", "") not in space.parley.log_text()
        await page.reload()
        await expect(frame.locator("#chat-input")).to_be_visible()


@asynccontextmanager
async def client_of(space: Space) -> AsyncIterator[httpx2.AsyncClient]:
    # The certificate is of the tests' own authority.
    async with httpx2.AsyncClient(base_url=space.url, verify=False, timeout=30) as client:
        yield client


async def code_of(space: Space, client: httpx2.AsyncClient, name: str) -> str:
    """Sign in as from the frame; gives the code that the tab shows."""
    departed = await client.get("/auth/oauth/huggingface?back_to=/login/framed")
    back = await client.get(await sign_in_at(client, departed.headers["location"], name))
    shown = await client.get(back.headers["location"])
    assert "script-src 'self'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"
    (code,) = re.findall(r'data-frame-code="(\w+)"', shown.text)
    return str(code)


async def redeemed(client: httpx2.AsyncClient, code: str, **headers: str) -> int:
    return (await client.post("/login/framed", data={"code": code}, headers=headers)).status_code


async def test_a_code_is_good_once_for_who_is_still_signed_in(space: Space) -> None:
    async with client_of(space) as tab, client_of(space) as frame, client_of(space) as thief:
        code = await code_of(space, tab, "dora")
        assert await redeemed(thief, code, origin="https://evil.example") == 403
        assert await redeemed(thief, "A" * 10) == 401
        assert await redeemed(frame, f" {code[:5]}-{code[5:].lower()} ") == 303
        assert (await frame.get("/api/v1/me")).json()["name"] == "Dora"
        assert await redeemed(thief, code) == 401, "used"
        late = re.findall(r'data-frame-code="(\w+)"', (await tab.get("/login/framed")).text)[0]
        await tab.post("/account/sign-out-everywhere")
        assert await redeemed(thief, late) == 401, "signed out meanwhile"
        assert (await frame.get("/api/v1/me")).status_code == 401
        assert (await thief.get("/api/v1/me")).status_code == 401


async def test_a_code_is_for_those_alone_who_signed_in(space: Space) -> None:
    async with client_of(space) as nobody, client_of(space) as ann:
        assert (await nobody.get("/login/framed")).status_code == 404
        await code_of(space, ann, "emil")
        key = (await ann.post("/api/v1/keys", json={"name": "k"})).json()["key"]
        bearer = {"authorization": f"Bearer {key}"}
        assert (await nobody.get("/login/framed", headers=bearer)).status_code == 404
        elsewhere = await ann.get("/login/framed", params={"back_to": "https://evil.example"})
        assert "evil.example" not in elsewhere.text


async def test_a_browser_that_keeps_nothing_in_frames_is_led_to_a_tab(
    space: Space, tmp_path: Path
) -> None:
    async with visitor(tmp_path / "home", keeps_in_frames=False) as context:
        page = await context.new_page()
        await page.goto(space.framing_url)
        frame = page.frame_locator("iframe")
        async with context.expect_page() as opening:
            await frame.locator("#own-tab").click()
        tab = await opening.value
        await tab.get_by_text("Sign in with Hugging Face").click()
        await signs_in(tab, "cleo")
        await expect(tab.locator("#chat-input")).to_be_visible()
