"""The demo's offer, in a real browser: a small local model is fetched by a click, and answers."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from providers.weights import DEFAULT
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import DEMO, client_of, serving
from tests.e2e.test_page import answer_of, finished, open_page, say, shot
from tests.fakes.hub import PIECE_BYTES, Repo, fake_hub
from tests.server import ParleyProcess

pytestmark = pytest.mark.needs_browser


async def test_a_model_is_fetched_by_a_click_and_answers(
    page: Page, tiny_model: Path, tmp_path: Path
) -> None:
    data = await asyncio.to_thread(tiny_model.read_bytes)
    file = DEFAULT.reference.file or ""
    async with fake_hub(Repo(DEFAULT.reference.repo, {file: data})) as hub:
        environment = {**DEMO, "DETECT_LOCAL_MODELS": "true", "HF_ENDPOINT": hub.url}
        environment |= {"HF_HOME": str(tmp_path / "hub"), "LLM_PROVIDER": "demo"}
        async with serving(tmp_path, environment) as parley:
            assert await pressed_by_a_guest(parley, x_forwarded_for="203.0.113.9") == (set(), 403)
            assert not hub.tokens, "nobody asked the Hub"
            await open_page(page, parley)
            await say(page, "Is there a model?")
            await finished(page)
            hub.repo.refused = (503, "")
            await page.get_by_role("button", name="A small local model").click()
            for told in ("The Hub failed (503). Pull again later.", "Request id"):
                await expect(answer_of(page)).to_contain_text(told)
            hub.repo.refused = None
            await page.get_by_role("button", name="A small local model").click()
            for told in (str(DEFAULT.reference), "apache-2.0", "Size", "Goes to"):
                await expect(answer_of(page)).to_contain_text(told)
            assert hub.sent_bytes == 0, "nothing is fetched unasked"
            await shot(page, "offer-desktop-light")
            hub.cut_after, hub.refused_then = PIECE_BYTES + 5, (403, "GatedRepo")
            fetch = page.get_by_role("button", name="Fetch it")
            await fetch.click()
            await expect(answer_of(page)).to_contain_text("accept its licence")
            hub.repo.refused = None
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
            await expect(page.get_by_role("button", name="A small local model")).to_have_count(0)
            about = page.locator("button:has(svg.lucide-info)")
            await expect(about).to_have_count(2)
            await about.last.click()
            await expect(page.locator("#side-view-content")).to_contain_text("(local)")
            assert await pressed_by_a_guest(parley) == (set(), 409)


async def pressed_by_a_guest(parley: ParleyProcess, **headers: str) -> tuple[set[str], int]:
    """What a new guest is offered, and the status of a fetch that they ask for all the same."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    cookie, session_id = await new_guest(parley), str(uuid4())
    auth = {"sessionId": session_id, "clientType": "webapp"}
    async with page_socket(parley, cookie, auth, sent) as socket, client_of(parley) as client:
        await socket.say("Is there a model?")
        await socket.next("task_end")
        action = {"name": "fetch", "payload": {"answer": str(uuid4())}}
        response = await client.post(
            "/project/action",
            json={"sessionId": session_id, "action": action},
            headers={"cookie": cookie, **sent},
        )
        offered = {action["name"] for action in socket.all("action")}
        return offered & {"offer", "fetch"}, response.status_code
