"""Signing in and out in a real browser: cookies across sites, the page, and its sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, WebSocket, expect

from tests.e2e.axe import assert_open_to_all
from tests.e2e.support import asks
from tests.e2e.test_page import say as say_in
from tests.fakes.model_server import (
    DONE,
    ModelServer,
    answer,
    chunk,
    finish,
    model_server,
    sse,
    usage,
    wait,
)
from tests.identity_services import oidc_provider
from tests.patience import until
from tests.server import ParleyProcess

pytestmark = pytest.mark.needs_browser


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ModelServer]:
    async with model_server(sse(*answer("Hello ", "there."))) as server:
        yield server


@pytest.fixture(scope="module")
async def team_url(
    tmp_path_factory: pytest.TempPathFactory, model: ModelServer
) -> AsyncIterator[str]:
    """Parley at localhost and the provider at 127.0.0.1: two sites, as in life."""
    parley = ParleyProcess(tmp_path_factory.mktemp("team"), asks(model))
    url = f"http://localhost:{parley.port}"
    with oidc_provider([f"{url}/auth/oauth/generic/callback"]) as provider:
        parley.environment |= provider.settings()
        parley.environment |= {"PUBLIC_URL": url, "ALLOW_GUESTS": "true"}
        await asyncio.to_thread(parley.start)
        try:
            yield url
        finally:
            await asyncio.to_thread(parley.stop)


async def sign_in(page: Page, url: str, name: str) -> None:
    await page.goto(f"{url}/login")
    await page.get_by_text("Sign in with").click()
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("x")
    await page.locator("button[type=submit]").click()
    await page.locator("input[value=consent]").wait_for(state="attached")
    await page.locator("button[type=submit]").click()
    await expect(page.locator("#chat-input")).to_be_visible()


async def ask(page: Page, text: str) -> None:
    """Say something; its answer has begun."""
    await say_in(page, text)
    await expect(page.locator("[data-step-type=assistant_message]").last).to_be_visible()


async def say(page: Page, text: str) -> None:
    await ask(page, text)
    # The demo says so at its end; before, the thread is still being answered.
    await expect(page.locator("button:has(svg.lucide-info)").last).to_be_visible()


async def menu(page: Page) -> None:
    await page.locator("#user-nav-button").click()


async def test_a_guest_signs_in_and_keeps_the_thread_and_signs_out(
    page: Page, team_url: str
) -> None:
    await page.goto(team_url)
    await say(page, "before I signed in")
    await page.get_by_text("Account").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await sign_in(page, team_url, "ann")
    await expect(page.get_by_text("before I signed in")).to_be_visible()
    await menu(page)
    await expect(page.get_by_text("Ann", exact=True)).to_be_visible()
    await page.get_by_text("Logout").click()
    await page.get_by_role("button", name="Yes, sign me out").click()  # the provider asks, too
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.get_by_text("Go on as a guest").click()
    await expect(page.get_by_text("No conversations found")).to_be_visible()
    await expect(page.get_by_text("before I signed in")).to_have_count(0)


async def test_two_users_side_by_side(chromium: Browser, team_url: str) -> None:
    here, there = await chromium.new_context(), await chromium.new_context()
    bob, carol = await here.new_page(), await there.new_page()
    try:
        await sign_in(bob, team_url, "bob")
        await sign_in(carol, team_url, "carol")
        await say(bob, "a word of Bob")
        await say(carol, "a word of Carol")
        await carol.reload()
        await expect(carol.get_by_text("a word of Carol").first).to_be_visible()
        await expect(carol.get_by_text("a word of Bob")).to_have_count(0)
    finally:
        await here.close()
        await there.close()


async def test_who_denies_it_is_back_at_the_sign_in(page: Page, team_url: str) -> None:
    await page.goto(f"{team_url}/login")
    await page.get_by_text("Sign in with").click()
    await page.get_by_text("Cancel").click()
    await expect(page.get_by_role("alert")).to_contain_text("not completed at the provider")


async def test_signing_out_everywhere_ends_an_open_page_elsewhere_at_once(
    chromium: Browser, team_url: str, model: ModelServer
) -> None:
    """Also while its answer is being written: its socket closes, and it shows nothing more."""
    usual, goes_on = model.replies[:], asyncio.Event()
    here, there = await chromium.new_context(), await chromium.new_context()
    one, other = await here.new_page(), await there.new_page()
    try:
        await sign_in(one, team_url, "dora")
        await one.goto(f"{team_url}/account")
        sockets: list[WebSocket] = []
        other.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 - Playwright marks it
        await sign_in(other, team_url, "dora")
        await say(other, "still here")
        # In a thread that is there the page asks for nothing more by which it would see that it
        # is nobody now.
        model.replies[:] = [sse(chunk("Once upon"), wait(goes_on), finish(), usage(), DONE)]
        await ask(other, "and now")
        await expect(other.get_by_text("Once upon")).to_be_visible()
        (*_, socket) = sockets  # a page may have had more than the one that it has
        await one.get_by_text("Sign out everywhere").click()
        await until(socket.is_closed)
        await expect(other.get_by_text("still here")).to_have_count(0)
        await expect(other.get_by_text("Once upon")).to_have_count(0)
        await expect(one.get_by_text("sign-out from")).to_be_visible()  # at the provider, too
    finally:
        goes_on.set()
        model.replies[:] = usual
        await here.close()
        await there.close()


async def test_a_key_is_made_shown_once_and_revoked(page: Page, team_url: str) -> None:
    await sign_in(page, team_url, "emil")
    await page.goto(f"{team_url}/account")
    await page.locator("input[name=name]").fill("laptop")
    await page.get_by_text("Make a key").click()
    key = await page.locator("#new-key").inner_text()
    await assert_open_to_all(page)
    context = await page.context.request.get(
        f"{team_url}/api/v1/me", headers={"authorization": f"Bearer {key}", "cookie": ""}
    )
    assert (await context.json())["name"] == "Emil"
    await page.goto(f"{team_url}/account")
    await expect(page.locator("#new-key")).to_have_count(0)
    await page.get_by_role("button", name="Revoke laptop").click()
    await expect(page.get_by_text("revoked")).to_be_visible()
