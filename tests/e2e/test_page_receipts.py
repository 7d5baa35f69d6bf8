"""What is behind an answer: what the model thought, and the panel that says what it saw."""

import asyncio
from urllib.parse import urlsplit
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
from tests.fakes.model_server import answer, chunk, delta, json_reply, sse, wait

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


async def test_what_was_thought_is_folded_live_and_after_a_reload(faked: Faked, page: Page) -> None:
    on, end = asyncio.Event(), asyncio.Event()
    faked.will_reply(
        sse(
            delta({"reasoning_content": "An animal `a:b`, "}),
            wait(on),
            delta({"reasoning_content": "with **scales**."}),
            wait(end),
            *answer("A pangolin."),
        ),
        sse(chunk("It eats "), *answer("ants.")),
    )
    await open_page(page, faked.parley)
    await say(page, "Which animal?")
    fold = page.get_by_role("button", name="Thinking", exact=True)
    await expect(fold).to_have_attribute("aria-expanded", "false")
    thought = page.locator("[data-step-type=tool]")
    await expect(thought).not_to_contain_text("An animal")
    await fold.click()
    await expect(thought).to_contain_text("An animal a:b,")
    on.set()
    await expect(thought).to_contain_text("An animal a:b, with scales.")
    await shot(page, "thinking-desktop-light")
    await load_again(page)
    await fold.click()
    await expect(thought).to_contain_text("An animal a:b, with scales.")
    end.set()
    await finished(page)
    for reloads in (False, True):
        if reloads:
            await load_again(page)
            await fold.click()
        await expect(answer_of(page)).to_have_text("A pangolin.", use_inner_text=True)
        await expect(thought).to_have_count(1)
        await expect(thought).to_contain_text("An animal a:b, with scales.")
        steps = await page.locator("[data-step-type]").evaluate_all(
            "all => all.map((one) => one.dataset.stepType)"
        )
        assert steps == ["user_message", "tool", "assistant_message"]
    await say(page, "What does it eat?")
    await expect(answer_of(page)).to_contain_text("It eats ants.")
    await finished(page)
    await expect(thought).to_have_count(1)
    for name, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        await shot(page, f"thought-{name}-light")


async def test_button_is_there_after_a_reload_and_once(page: Page, faked: Faked) -> None:
    await open_page(page, faked.parley)
    await converse(faked, page)
    await load_again(page)
    await expect(answer_of(page)).to_contain_text("It eats ants.")
    await expect(buttons(page)).to_have_count(2)
    await buttons(page).first.click()
    await expect(page.locator("#side-view-content")).to_contain_text("saw 2 messages")


async def test_each_page_of_a_thread_is_in_the_language_of_its_browser(
    chromium: Browser, faked: Faked
) -> None:
    faked.will_reply(
        sse(*answer("A pangolin.")), json_reply({"error": {"message": "boom is not a word"}}, 400)
    )
    async with await chromium.new_context(locale="de-CH") as swiss:
        page = await swiss.new_page()
        await open_page(page, faked.parley)
        # Chainlit's own words, of which it has none for this region.
        await expect(page.get_by_role("textbox", name="Nachricht eingeben")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("lang", "de-CH")
        told = await page.request.get(f"{faked.parley.url}/project/settings?language=de-CH")
        assert (await told.json())["markdown"].startswith("# Willkommen bei Parley")
        await say(page, "Which animal?")
        await expect(buttons(page)).to_have_count(1)
        await finished(page)
        await buttons(page).click()
        panel = page.locator("#side-view-content")
        for text in ("Geantwortet hat", "hat 2 Nachrichten mit", "Systemanweisung"):
            await expect(panel).to_contain_text(text)
        await say(page, "What does it eat?")
        german = ("akzeptiert die Anfrage nicht (400): boom is not a word", "prüfe OPENAI_MODEL")
        for text in (*german, "Anfrage-ID"):
            await expect(answer_of(page)).to_contain_text(text)
        await expect(page.get_by_text("Fehlgeschlagen · Nochmals ausführen")).to_be_visible()
        state = await swiss.storage_state()
        async with await chromium.new_context(locale="en-GB", storage_state=state) as british:
            other = await british.new_page()
            await open_page(other, faked.parley, urlsplit(page.url).path)
            english = "does not accept the request (400): boom is not a word. Change what"
            await expect(answer_of(other)).to_contain_text(english)
            await expect(other.get_by_text("Failed · Run again")).to_be_visible()
        await load_again(page)
        for text in german:
            await expect(answer_of(page)).to_contain_text(text)


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
