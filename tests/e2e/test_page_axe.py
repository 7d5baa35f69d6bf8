"""The page for everybody: axe finds nothing serious, at any width and in both themes."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Faked
from tests.e2e.test_page import (
    MARKDOWN,
    SIZES,
    answer_of,
    finished,
    open_page,
    say,
    stranger,
)
from tests.fakes.model_server import answer, sse
from tests.npm import npm_packages

pytestmark = pytest.mark.needs_browser

SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def axe() -> str:
    packages = npm_packages(Path(__file__).parents[1] / "axe")
    return (packages / "axe-core" / "axe.min.js").read_text()


async def violations(page: Page, axe: str) -> dict[str, list[str]]:
    """What axe finds that is serious: the rule, and the elements that break it."""
    # A dialog that is still fading in is as pale as it looks.
    await page.evaluate(
        """Promise.allSettled(document.getAnimations()
            .filter((one) => one.effect.getComputedTiming().iterations < 100)
            .map((one) => one.finished))"""
    )
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return {
        f"{one['id']}: {one['help']}": [node["html"][:200] for node in one["nodes"]]
        for one in found["violations"]
        if one["impact"] in SERIOUS
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    chromium: Browser, faked: Faked, axe: str, size: str, scheme: str
) -> None:
    faked.will_reply(sse(*answer(MARKDOWN)))
    async with stranger(chromium, *SIZES[size], scheme) as context:
        page = await context.new_page()
        await open_page(page, faked.parley)
        assert await violations(page, axe) == {}
        await say(page, "What is a turn?")
        await expect(answer_of(page)).to_contain_text("A turn is")
        await finished(page)
        assert await violations(page, axe) == {}
        await page.locator("#chat-settings-open-modal").click()
        await expect(page.locator("#system_prompt")).to_be_visible()
        assert await violations(page, axe) == {}
