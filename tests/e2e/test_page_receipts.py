"""The panel that says what the model saw, in a real browser and at its route."""

from uuid import uuid4

import httpx2
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.conftest import Faked
from tests.e2e.page_socket import new_guest
from tests.e2e.support import client_of
from tests.e2e.test_page import (
    SIZES,
    answer_of,
    finished,
    load_again,
    open_page,
    say,
    shot,
    stranger,
)
from tests.e2e.visit import visit
from tests.fakes.model_server import answer, sse

pytestmark = pytest.mark.needs_browser


def buttons(page: Page) -> Locator:
    return page.locator("button:has(svg.lucide-info)")


async def converse(faked: Faked, page: Page) -> None:
    faked.will_reply(sse(*answer("A pangolin.")), sse(*answer("It eats ants.")))
    for count, question in enumerate(("Which animal?", "What does it eat?"), 1):
        await say(page, question)
        await expect(buttons(page)).to_have_count(count)
        await finished(page)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_panel_shows_what_the_model_saw(
    chromium: Browser, faked: Faked, size: str, scheme: str
) -> None:
    async with stranger(chromium, *SIZES[size], scheme) as context:
        page = await context.new_page()
        await open_page(page, faked.parley)
        await converse(faked, page)
        await buttons(page).last.click()
        panel = page.locator("#side-view-content")
        await expect(panel).to_contain_text("saw 4 messages")
        for text in ("System prompt", "Which animal?", "A pangolin.", "What does it eat?"):
            await expect(panel).to_contain_text(text)
        await expect(panel).not_to_contain_text("It eats ants.")
        await shot(page, f"receipt-{size}-{scheme}")


async def test_button_is_there_after_a_reload_and_once(page: Page, faked: Faked) -> None:
    await open_page(page, faked.parley)
    await converse(faked, page)
    await load_again(page)
    await expect(answer_of(page)).to_contain_text("It eats ants.")
    await expect(buttons(page)).to_have_count(2)
    await buttons(page).first.click()
    await expect(page.locator("#side-view-content")).to_contain_text("saw 2 messages")


async def test_buttons_of_others_do_nothing(faked: Faked) -> None:
    faked.will_reply(sse(*answer("A pangolin.")))
    async with (
        visit(faked.parley, await new_guest(faked.parley)) as ada,
        visit(faked.parley, await new_guest(faked.parley)) as grace,
        client_of(faked.parley) as nobody,
    ):
        await ada.send("Which animal?")
        again, action = await ada.socket.next("action"), await ada.socket.next("action", 2)
        # Where the page has it already, from before a lost connection, it must not come twice.
        assert ada.socket.all("remove_action") == [again, action]
        for client, session_id, changes, status in (
            (grace.client, grace.session_id, {}, 404),
            (grace.client, ada.session_id, {}, 404),
            (grace.client, grace.session_id, {"name": "again"}, 404),
            (nobody, ada.session_id, {}, 401),
            (ada.client, str(uuid4()), {}, 404),
            (ada.client, ada.session_id, {"name": "other"}, 404),
            (ada.client, ada.session_id, {"payload": {"answer": "no id"}}, 404),
            (ada.client, ada.session_id, {"payload": None}, 422),
        ):
            response = await press(client, session_id, {**action, **changes})
            assert response.status_code == status, response.text
        for socket in (ada.socket, grace.socket):
            assert not any(socket.all("set_sidebar_elements"))
        assert (await press(ada.client, ada.session_id, action)).status_code == 200
        opened = await ada.socket.next("set_sidebar_elements")
        url = opened["elements"][0]["url"]
        assert "Which animal?" in (await ada.client.get(url)).text
        assert (await grace.client.get(url)).status_code == 404
        assert (await nobody.get(url)).status_code == 401


async def press(client: httpx2.AsyncClient, session_id: str, action: object) -> httpx2.Response:
    return await client.post("/project/action", json={"action": action, "sessionId": session_id})
