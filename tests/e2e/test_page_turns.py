"""Turns in a real browser: run again, edited, and the same in every page that has the thread open."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.conftest import Faked
from tests.e2e.support import answers, asks, client_of, select, serving
from tests.e2e.test_page import (
    answer_of,
    finished,
    load_again,
    new_chat,
    open_page,
    say,
    settled,
    shot,
    stranger,
    thread_of,
)
from tests.fakes.model_server import answer, chunk, hang, json_reply, model_server, sse, wait
from tests.patience import until

pytestmark = pytest.mark.needs_browser

TOML = """
default_model = "small"

[models.small]
provider = "openai"
model = "fake-small"
label = "Small one"
context_window = 8192

[models.large]
provider = "openai"
model = "fake-large"
label = "Large one"
tools = true

[[starters]]
label = "Explain a turn"
message = "What is a turn?"

[[starters]]
label = "Say hello"
message = "Hello there."
"""
PROFILES = """
[[profiles]]
label = "Plain"
description = "As configured."

[[profiles]]
label = "Translator"
description = "Translates what you write."
model = "large"
system_prompt = "Translate into English."
temperature = 0.2

[[profiles.starters]]
label = "A menu"
message = "Carte du jour"
"""


@pytest.fixture(scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faked]:
    """A Parley with two models and two starters."""
    directory = tmp_path_factory.mktemp("models")
    (directory / "parley.toml").write_text(TOML)
    async with model_server() as server, serving(directory, asks(server)) as parley:
        yield Faked(parley, server)


def again(page: Page) -> Locator:
    return page.locator("button:has(svg.lucide-rotate-ccw)")


async def pick(page: Page, model: str) -> None:
    await page.locator("#mode-picker-trigger-model").click()
    await page.locator("#mode-picker-popover-model").get_by_text(model).click()
    await expect(page.locator("#mode-picker-trigger-model")).to_have_text(model)


async def instruct(page: Page, prompt: str) -> None:
    await page.locator("#chat-settings-open-modal").click()
    await page.locator("#system_prompt").fill(prompt)
    await page.locator("#confirm").click()
    await expect(page.get_by_text("The settings hold")).to_be_visible()


async def test_stopped_and_failed_answers_say_so_and_run_again(models: Faked, page: Page) -> None:
    models.will_reply(
        sse(chunk("Once upon"), hang),
        sse(hang),
        json_reply({"error": {"message": "boom"}}, 400),
        sse(*answer()),
        sse(*answer("The end.")),
        sse(*answer("Another end.")),
    )
    await open_page(page, models.parley)
    await say(page, "Tell me a story.")
    await expect(answer_of(page)).to_contain_text("Once upon")
    await page.locator("#stop-button").click()
    await expect(again(page)).to_have_text("Stopped · Run again")
    await load_again(page)
    await expect(again(page)).to_have_text("Stopped · Run again")
    await again(page).click()
    await expect(page.get_by_text("Once upon")).to_have_count(0)
    await page.locator("#stop-button").click()
    await expect(page.get_by_text("Stopped before the answer began.")).to_be_visible()
    await expect(again(page)).to_have_text("Stopped · Run again")
    await again(page).click()
    await expect(again(page)).to_have_text("Failed · Run again")
    await shot(page, "failed-desktop-light")
    await again(page).click()
    await expect(page.get_by_text("The answer has no text.")).to_be_visible()
    await load_again(page)
    await expect(page.get_by_text("The answer has no text.")).to_be_visible()
    await again(page).click()
    await expect(answer_of(page)).to_contain_text("The end.")
    await expect(page.get_by_text("Request id:")).to_have_count(0)
    await finished(page)
    await expect(again(page)).to_have_count(1)
    await again(page).click()
    await expect(answer_of(page)).to_contain_text("Another end.")
    await finished(page)
    for kind in ("user_message", "assistant_message"):
        await expect(page.locator(f"[data-step-type={kind}]")).to_have_count(1)
    await page.locator("button:has(svg.lucide-info)").click()
    panel = page.locator("#side-view-content")
    for told in ("fake-small (openai)", "3 / 2", "First text after", "Duration"):
        await expect(panel).to_contain_text(told)
    await shot(page, "details-desktop-light")
    # Nothing was deleted: five siblings are in the rows.
    thread_id = await thread_of(page)
    statement = "SELECT count(*) FROM turns WHERE thread_id = ?"
    assert select(models.parley, statement, UUID(thread_id).hex) == [(6,)]


async def test_an_edited_question_is_a_branch_in_every_page(models: Faked, page: Page) -> None:
    """It is asked of the model that the picker shows; and so is what is run again, with the settings as they are."""
    blue, green = sse(chunk("Bl"), *answer("ue.")), sse(*answer("Green."))
    models.will_reply(sse(*answer("Red.")), sse(*answer("Long.")), blue, green)
    await open_page(page, models.parley)
    await say(page, "Colour of fire?")
    await expect(answer_of(page)).to_contain_text("Red.")
    await finished(page)
    await say(page, "Its wavelength?")
    await expect(answer_of(page)).to_contain_text("Long.")
    await finished(page)
    await expect(again(page)).to_have_count(1)
    other = await page.context.new_page()
    await open_page(other, models.parley, f"/thread/{await thread_of(page)}")
    await expect(answer_of(other)).to_contain_text("Long.")
    await pick(page, "Large one")
    first = page.locator("[data-step-type=user_message]").first
    await first.hover()
    await first.locator(".edit-message").click()
    await page.locator("#edit-chat-input").fill("Colour of water?")
    await page.locator(".confirm-edit").click()
    for each in (page, other):
        await expect(answer_of(each)).to_contain_text("Blue.")
        await expect(each.locator("[data-step-type=user_message]")).to_have_count(1)
        await expect(each.get_by_text("Colour of water?").last).to_be_visible()
    await load_again(page)
    await expect(page.locator("[data-step-type=user_message]")).to_have_text("Colour of water?")
    assert "Colour of fire" not in models.server.requests[-1].body.decode()
    assert models.server.requests[-1].json["model"] == "fake-large"
    await expect(page.locator("#mode-picker-trigger-model")).to_have_text("Large one")
    await pick(page, "Small one")
    await instruct(page, "You are a pirate.")
    await again(page).click()
    await expect(answer_of(page)).to_contain_text("Green.")
    asked = models.server.requests[-1].json
    assert asked["model"] == "fake-small"
    assert asked["messages"][0]["content"] == "You are a pirate."


async def test_turns_from_elsewhere_appear_live_and_can_be_stopped(
    models: Faked, page: Page, chromium: Browser
) -> None:
    gate = asyncio.Event()
    models.will_reply(
        sse(*answer("Here.")),
        sse(chunk("From"), wait(gate), *answer(" afar.")),
        sse(chunk("A"), hang),
    )
    await open_page(page, models.parley)
    await say(page, "Where are you?")
    await expect(answer_of(page)).to_contain_text("Here.")
    await finished(page)
    thread_id = await thread_of(page)
    cookies = await page.context.cookies()
    header = "; ".join(f"{c['name']}={c['value']}" for c in cookies)
    async with stranger(chromium, 390, 844) as device, client_of(models.parley) as client:
        await device.add_cookies(
            [{"name": c["name"], "value": c["value"], "url": models.parley.url} for c in cookies]
        )
        phone = await device.new_page()
        await open_page(phone, models.parley, f"/thread/{thread_id}")
        await expect(answer_of(phone)).to_contain_text("Here.")
        asked = {"session_id": thread_id, "message": "And now?"}
        sending = asyncio.create_task(client.post("/chat", json=asked, headers={"cookie": header}))
        for each in (page, phone):
            await expect(answer_of(each)).to_contain_text("From")
            await expect(each.get_by_text("And now?").last).to_be_visible()
            await expect(each.locator("#stop-button")).to_be_visible()
        gate.set()
        assert "afar" in (await sending).text
        for each in (page, phone):
            await expect(answer_of(each)).to_contain_text("From afar.")
            await finished(each)
            await expect(again(each)).to_have_count(1)
        await say(phone, "Stop me there.")
        await expect(page.get_by_text("Stop me there.").last).to_be_visible()
        await expect(answer_of(page)).to_contain_text("A")
        await page.locator("#stop-button").click()
        for each in (page, phone):
            await finished(each)
            await expect(again(each).last).to_have_text("Stopped · Run again")
            await expect(each.locator("[data-step-type=user_message]")).to_have_count(3)
        assert answers(models.parley)[-1][0] == "stopped"


async def test_model_and_settings_are_chosen_and_remembered(models: Faked, page: Page) -> None:
    models.will_reply(sse(*answer("Yes.")))
    await open_page(page, models.parley)
    picker = page.locator("#mode-picker-trigger-model")
    await expect(picker).to_have_text("Small one")
    await expect(page.locator("#starters button")).to_have_text(["Explain a turn", "Say hello"])
    await picker.click()
    popover = page.locator("#mode-picker-popover-model")
    await expect(popover).to_contain_text("8,192 tokens")
    await expect(popover).to_contain_text("openai · tools")
    await shot(page, "models-desktop-light")
    await popover.get_by_text("Large one").click()
    await page.locator("#chat-settings-open-modal").click()
    await page.locator("#system_prompt").fill("You are a pirate.")
    await page.locator("#temperature").fill("9")
    await page.locator("#confirm").click()
    await expect(page.get_by_text("A temperature is a number from 0 to 2")).to_be_visible()
    await page.locator("#chat-settings-open-modal").click()
    await expect(page.locator("#temperature")).to_have_value("")
    await expect(page.locator("#system_prompt")).to_have_value("You are a pirate.")
    await page.locator("#temperature").fill("0.5")
    await shot(page, "settings-desktop-light")
    await page.locator("#confirm").click()
    await expect(page.get_by_text("The settings hold")).to_be_visible()
    await say(page, "Are you?")
    await expect(answer_of(page)).to_contain_text("Yes.")
    await finished(page)
    sent = models.server.requests[-1].json
    assert (sent["model"], sent["temperature"]) == ("fake-large", 0.5)
    assert sent["messages"][0]["content"] == "You are a pirate."
    await load_again(page)
    await expect(answer_of(page)).to_contain_text("Yes.")
    await expect(picker).to_have_text("Large one")
    await page.locator("#chat-settings-open-modal").click()
    await expect(page.locator("#system_prompt")).to_have_value("You are a pirate.")
    await expect(page.locator("#temperature")).to_have_value("0.5")
    await page.keyboard.press("Escape")
    await new_chat(page)
    await expect(picker).to_have_text("Small one")
    await page.locator("#starter-say-hello").click()
    await expect(answer_of(page)).to_contain_text("Yes.")
    assert models.server.requests[-1].json["model"] == "fake-small"


async def test_a_profile_stays_its_threads_also_when_it_is_gone(page: Page, tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text(TOML + PROFILES)
    picker, profiles = page.locator("#mode-picker-trigger-model"), page.locator("#chat-profiles")
    async with (
        model_server(sse(*answer("Menu."))) as server,
        serving(tmp_path, asks(server)) as parley,
    ):
        await open_page(page, parley)
        await expect(profiles).to_have_text("Plain")
        await expect(picker).to_have_text("Small one")
        await expect(page.locator("#starters button")).to_have_count(2)
        await profiles.click()
        await expect(page.get_by_text("As configured.")).to_be_visible()
        await page.get_by_role("option", name="Translator").click()
        await expect(picker).to_have_text("Large one")
        await expect(page.locator("#starters button")).to_have_text(["A menu"])
        await page.locator("#starter-a-menu").click()
        await expect(answer_of(page)).to_contain_text("Menu.")
        await finished(page)
        for _ in range(2):  # what the first reload leaves behind, the second finds
            await load_again(page)
            await expect(profiles).to_have_text("Translator")
            await expect(picker).to_have_text("Large one")
        address = page.url
        await page.locator("#new-chat-button").click()
        await expect(answer_of(page)).to_have_count(0)
        parley.stop()
        (tmp_path / "parley.toml").write_text(TOML)
        await asyncio.to_thread(parley.start)
        await page.goto(address)
        await expect(answer_of(page)).to_contain_text("Menu.")
        await expect(picker).to_have_text("Large one")
        await say(page, "And the wine?")
        await expect(page.locator("[data-step-type=assistant_message]")).to_have_count(2)
        await finished(page)
        asked = [request.json for request in server.requests if request.body]
        assert [(r["model"], r["temperature"]) for r in asked] == [("fake-large", 0.2)] * 2
        assert {r["messages"][0]["content"] for r in asked} == {"Translate into English."}


async def test_earlier_messages_come_on_demand(models: Faked, page: Page) -> None:
    models.will_reply(sse(*answer("An answer.")))
    await open_page(page, models.parley)
    await say(page, "Question 0.")
    await expect(answer_of(page)).to_contain_text("An answer.")
    await finished(page)
    thread_id = await thread_of(page)
    cookies = await page.context.cookies()
    headers = {"cookie": "; ".join(f"{c['name']}={c['value']}" for c in cookies)}
    async with client_of(models.parley) as client:
        for number in range(1, 61):
            asked = {"session_id": thread_id, "message": f"Question {number}."}
            await client.post("/chat", json=asked, headers=headers)
    await load_again(page)
    await expect(page.get_by_text("Question 60.").last).to_be_visible()
    await expect(page.locator("[data-step-type=user_message]")).to_have_count(50)
    read = page.get_by_text("Question 11.", exact=True)
    await read.scroll_into_view_if_needed()
    note = page.locator("[data-step-type=assistant_message]").first.get_by_role("button")
    await expect(note).to_have_text(["Show earlier messages"])
    await note.click()
    await expect(page.locator("[data-step-type=user_message]")).to_have_count(61)
    await expect(read).to_be_in_viewport()
    await expect(page.get_by_role("button", name="Show earlier messages")).to_have_count(0)
    await expect(page.locator("#chat-input")).to_be_visible()


async def test_a_killed_server_comes_back_with_the_answer_so_far(
    page: Page, tmp_path: Path
) -> None:
    """And with what was chosen before the first message."""
    story = (sse(chunk("Once upon"), hang), sse(*answer("The end.")))
    (tmp_path / "parley.toml").write_text(TOML)
    picker = page.locator("#mode-picker-trigger-model")
    async with model_server(*story) as server, serving(tmp_path, asks(server)) as parley:
        await open_page(page, parley)
        await pick(page, "Large one")
        await instruct(page, "You are a pirate.")
        parley.kill()
        await expect(picker).to_be_disabled()
        await asyncio.to_thread(parley.start)
        await settled(page)
        await expect(picker).to_have_text("Large one")
        await say(page, "Tell me a story.")
        await expect(answer_of(page)).to_contain_text("Once upon")
        asked = server.requests[-1].json
        assert (asked["model"], asked["messages"][0]["content"]) == (
            "fake-large",
            "You are a pirate.",
        )
        saved = "SELECT 1 FROM steps WHERE output LIKE 'Once upon%'"
        await until(lambda: select(parley, saved))
        parley.kill()
        await asyncio.to_thread(parley.start)
        # The page connects again by itself.
        await expect(again(page)).to_have_text("Interrupted · Run again")
        await expect(page.get_by_text("Once upon")).to_be_visible()
        await finished(page)
        await again(page).click()
        await expect(answer_of(page)).to_contain_text("The end.")
        for kind in ("user_message", "assistant_message"):
            await expect(page.locator(f"[data-step-type={kind}]")).to_have_count(1)
