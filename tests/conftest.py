"""Fixtures that every test may ask for, and the rule that nothing is skipped in CI."""

import gc
import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
import redis
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.models.tiny_gguf import write_tiny_gguf
from tests.patience import PATIENCE_S
from tests.services import START_TIMEOUT_S, Postgres, find_free_port, postgres_server, redis_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = (
    "--no-sandbox",  # Chromium's sandbox refuses to run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# No test asserts a time, and a machine with much else to do is no failure.
hypothesis.settings.register_profile(
    "parley", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("parley")
expect.set_options(timeout=PATIENCE_S * 1000)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of this run, started when first asked for."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A new, empty database for this test."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_url(redis_of_session: str) -> str:
    """An empty Redis for this test: the server of this run, flushed."""
    with redis.Redis.from_url(redis_of_session) as client:
        client.flushall()
    return redis_of_session


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file for `tests.models.llama_server`."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


def chromium_program() -> str | None:
    """The path of the system's Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, headless.

    One for a module and not for the session: a session's async fixture would put all later tests on one event loop.
    """
    program = chromium_program()
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=BROWSER_ARGUMENTS, timeout=START_TIMEOUT_S * 1000
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A page in a browser profile of its own: no cookies, no storage."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    yield await context.new_page()
    await context.close()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests and no garbage: what is there afterwards stays, and is not looked through again in each test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)  # as in a server (app.py)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files are dealt out to several processes, those with the long tests come first.

    Otherwise one process is busy alone with one of them in the end.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    """In CI a test that was left out is a failure; elsewhere the summary names it."""
    expected = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected:
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true lets nothing be skipped: {report.longreprtext}"
    return report
