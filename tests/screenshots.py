"""``make screenshots``: the page as docs/images shows it, drawn anew by a real browser.

The answers are a script's, so that a picture changes only where the page does.
"""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.conftest import BROWSER_ARGUMENTS, chromium_program
from tests.e2e.support import asks, serving
from tests.e2e.test_page import open_page
from tests.fakes.model_server import ModelServer, answer, model_server, sse
from tests.server import ParleyProcess

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
TOML = """
default_model = "house"

[models.house]
provider = "openai"
model = "fake"
label = "Llama 3.1 8B"
context_window = 128000
tools = true

[[starters]]
label = "Explain a traceback"
message = "Explain this traceback: "

[[starters]]
label = "Plan a release"
message = "What belongs into a release checklist?"
"""
QUESTIONS = (
    (
        "Which answers survive when a chat server dies?",
        """\
With Parley: all of them. A **turn** belongs to its thread, not to a socket.

1. Your message is written *before* a model is asked.
2. The answer is checkpointed every second.
3. Another server carries on within three seconds.
""",
    ),
    (
        "And how do I follow one from Python?",
        """\
Read its events, from wherever you were:

```python
async with client.stream("GET", f"/api/v1/turns/{turn_id}/events") as events:
    async for line in events.aiter_lines():
        print(line)
```

| you lost | you get |
|---|---|
| the connection | the rest, from your last event |
| the log | a snapshot, then the rest |
""",
    ),
)


async def main() -> None:
    """Draw every picture."""
    await asyncio.to_thread(IMAGES.mkdir, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parley-screenshots-") as name:
        await _draw_all(Path(name))


async def _draw_all(directory: Path) -> None:
    await asyncio.to_thread((directory / "parley.toml").write_text, TOML)
    async with (
        model_server() as server,
        serving(directory, asks(server)) as parley,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(
            executable_path=chromium_program(), args=BROWSER_ARGUMENTS
        )
        for size in SIZES:
            for scheme in SCHEMES:
                await _draw(browser, parley, server, size, scheme)
        await browser.close()


async def _draw(
    browser: Browser, parley: ParleyProcess, server: ModelServer, size: str, scheme: str
) -> None:
    server.replies[:] = [sse(*answer(text)) for _, text in QUESTIONS]
    server.requests.clear()
    width, height = SIZES[size]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    await open_page(page, parley)
    await expect(page.get_by_role("button", name="Plan a release")).to_be_enabled()
    await _shot(page, f"welcome-{size}-{scheme}")
    for count, (question, _) in enumerate(QUESTIONS, 1):
        await page.locator("#chat-input").fill(question)
        await page.locator("#chat-submit").click()
        await page.locator("button:has(svg.lucide-info)").nth(count - 1).wait_for()
        await page.locator("#stop-button").wait_for(state="detached")
    await _shot(page, f"chat-{size}-{scheme}")
    await context.close()


async def _shot(page: Page, name: str) -> None:
    await page.evaluate("document.fonts.ready")
    await page.screenshot(path=IMAGES / f"{name}.png", animations="disabled", caret="hide")


if __name__ == "__main__":
    asyncio.run(main())
