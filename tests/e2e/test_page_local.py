"""The demo's offer, in a real browser: a small local model is fetched by a click, and answers."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from providers.weights import DEFAULT
from tests.e2e.support import DEMO, serving
from tests.e2e.test_page import WAIT_MS, answer_of, finished, open_page, say, shot
from tests.fakes.hub import PIECE_BYTES, Repo, fake_hub

pytestmark = pytest.mark.needs_browser


async def test_a_model_is_fetched_by_a_click_and_answers(
    page: Page, tiny_model: Path, tmp_path: Path
) -> None:
    expect.set_options(timeout=2 * WAIT_MS)
    data = await asyncio.to_thread(tiny_model.read_bytes)
    file = DEFAULT.reference.file or ""
    async with fake_hub(Repo(DEFAULT.reference.repo, {file: data})) as hub:
        environment = {**DEMO, "DETECT_LOCAL_MODELS": "true", "HF_ENDPOINT": hub.url}
        environment |= {"HF_HOME": str(tmp_path / "hub"), "LLM_PROVIDER": "demo"}
        async with serving(tmp_path, environment) as parley:
            await open_page(page, parley)
            await say(page, "Is there a model?")
            await finished(page)
            await page.get_by_role("button", name="A small local model").click()
            for told in (str(DEFAULT.reference), "apache-2.0", "Size", "Goes to"):
                await expect(answer_of(page)).to_contain_text(told)
            assert hub.sent_bytes == 0, "nothing is fetched unasked"
            await shot(page, "offer-desktop-light")
            hub.cut_after = PIECE_BYTES + 5
            fetch = page.get_by_role("button", name="Fetch it")
            await fetch.click()
            await expect(answer_of(page)).to_contain_text("Pull again: it goes on there.")
            hub.gate.clear()
            hub.begun.clear()
            await fetch.click()
            await hub.begun.wait()
            await expect(answer_of(page)).to_contain_text("Fetching: ")
            hub.gate.set()
            await expect(answer_of(page)).to_contain_text("The model is there")
            hub.assert_resumed(PIECE_BYTES + 5)
            picker = page.locator("#mode-picker-trigger-model")
            await expect(picker).to_contain_text("parley-tiny-random")
            await say(page, "And now?")
            await finished(page)
            await expect(page.get_by_role("button", name="A small local model")).to_have_count(1)
            about = page.locator("button:has(svg.lucide-info)")
            await expect(about).to_have_count(2)
            await about.last.click()
            await expect(page.locator("#side-view-content")).to_contain_text("(local)")
