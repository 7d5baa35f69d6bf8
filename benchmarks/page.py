"""The page, in Chromium: how long somebody waits who opens a long thread.

Beside it Chainlit's own page on the same data, which shows every message (read by the same layer, so that only the page
differs).
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import uvloop
from playwright.async_api import Browser, BrowserContext, async_playwright
from playwright.async_api import TimeoutError as NotSeen

from benchmarks import data_layer_corpus as corpus
from benchmarks import servers
from benchmarks.data_layer_measure import Spread
from benchmarks.data_layer_ours import create_ours, fill_ours, new_owner
from benchmarks.table import Row, progress
from parley.auth.guests import COOKIE, Guests
from parley.auth.keys import Secret
from parley.chat.turns import Owner
from tests.conftest import BROWSER_ARGUMENTS, BROWSERS
from tests.e2e.other_app import running

_RUNS = 7
_PATIENCE_S = 180
_SHOWN = 100
_OFFER = 1  # the line above them that offers the earlier ones
_SECRET = "s" * 64
_NAME, _PASSWORD = "ada", "lovelace"  # of the example app
_MESSAGES = "[data-step-type$=_message]"


def page_rows() -> list[Row]:
    """Measure the page; takes minutes, most of them in Chainlit's own."""
    # A browser is many processes: they get what the server's core leaves.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    thread = corpus.long_thread()
    with tempfile.TemporaryDirectory() as directory:
        progress(f"a long thread in the page, with a load of {os.getloadavg()[0]:.1f}")
        ours = uvloop.run(_ours(Path(directory, "ours"), thread))
        progress("the same in Chainlit's own page")
        theirs = uvloop.run(_theirs(Path(directory, "theirs"), thread))
    return [
        Row(
            f"open a thread of {corpus.LONG_THREAD:,} messages at its last {_SHOWN} in Chromium",
            str(ours),
            "≤ 1,500 ms",
            theirs,
            ours.median <= 1_500,
        )
    ]


async def _ours(directory: Path, thread: corpus.Thread) -> Spread:
    owner = new_owner()
    url = await _filled(directory, owner, thread)
    settings = {"DATABASE_URL": url, "PARLEY_SECRET": _SECRET, "STORAGE_DIRECTORY": str(directory)}
    cookie = Guests(Secret(_SECRET), secure=False).cookie(owner).split(";")[0].partition("=")[2]
    # On all cores, as Chainlit's own below; no model server is asked, so any port will do.
    with servers.parley(1, core=None, **settings) as server:
        home = f"http://127.0.0.1:{server.port}"
        async with _chromium() as browser:
            times = []
            for _ in range(_RUNS + 1):
                # Each a browser that was never here: nothing is cached.
                context = await browser.new_context()
                await context.add_cookies([{"name": COOKIE, "value": cookie, "url": home}])
                times.append(await _opened(context, home, thread, _SHOWN + _OFFER))
                await context.close()
    return Spread(tuple(times[1:]))


async def _theirs(directory: Path, thread: corpus.Thread) -> str:
    url = await _filled(directory, Owner(new_owner().id, _NAME), thread)
    with running(directory, url) as app:
        async with _chromium() as browser:
            context = await browser.new_context()
            form: dict[str, str | float | bool] = {"username": _NAME, "password": _PASSWORD}
            await context.request.post(f"{app.url}/login", form=form)
            try:
                taken = await _opened(context, app.url, thread, corpus.LONG_THREAD)
            except NotSeen:
                return f"Chainlit's own page, all of it: more than {_PATIENCE_S} s"
            return f"Chainlit's own page, all of it: {taken / 1000:,.0f} s"


async def _filled(directory: Path, owner: Owner, thread: corpus.Thread) -> str:
    await asyncio.to_thread(directory.mkdir)
    url = f"sqlite+aiosqlite:///{directory}/parley.db"
    await create_ours(url)
    await fill_ours(url, owner, [thread])
    return url


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        yield browser
        await browser.close()


async def _opened(
    context: BrowserContext, home: str, thread: corpus.Thread, messages: int
) -> float:
    """Open a thread; gives the milliseconds until all the messages are there and the last is seen."""
    page = await context.new_page()
    page.set_default_timeout(_PATIENCE_S * 1000)
    began_at = perf_counter()
    await page.goto(f"{home}/thread/{thread.id}")
    await page.wait_for_function(
        "([messages, count]) => document.querySelectorAll(messages).length >= count",
        arg=[_MESSAGES, messages],
    )
    await page.locator(_MESSAGES).last.wait_for()
    taken = (perf_counter() - began_at) * 1000
    assert await page.locator(_MESSAGES).count() == messages
    assert thread.messages[-1].text[:40] in await page.locator(_MESSAGES).last.inner_text()
    return taken
