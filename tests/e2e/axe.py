"""axe-core: what keeps people out of a page."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.npm import npm_packages

_SERIOUS = {"serious", "critical"}


@cache
def _script() -> str:
    packages = npm_packages(Path(__file__).parents[1] / "axe")
    return (packages / "axe-core" / "axe.min.js").read_text()


async def assert_open_to_all(page: Page) -> None:
    """axe finds nothing serious: neither a rule, nor elements that break it."""
    script = await asyncio.to_thread(_script)
    # A dialog that is still fading in is as pale as it looks; and page.js mends with the next frame.
    await page.evaluate(
        """Promise.allSettled(document.getAnimations()
            .filter((one) => one.effect.getComputedTiming().iterations < 100)
            .map((one) => one.finished))
            .then(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))))"""
    )
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(script)
    found: dict[str, Any] = await page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = {
        f"{one['id']}: {one['help']}": [node["html"][:200] for node in one["nodes"]]
        for one in found["violations"]
        if one["impact"] in _SERIOUS
    }
    assert not serious, serious
