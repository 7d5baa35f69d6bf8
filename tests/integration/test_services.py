"""The services that the other tests stand on are real, empty and separate."""

import pytest
from playwright.async_api import Page
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.services import Postgres


async def ask(url: str, statement: str) -> str:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        answer = await connection.scalar(text(statement))
    await engine.dispose()
    return str(answer)


@pytest.mark.needs_postgres
async def test_postgres_is_version_18(postgres_url: str) -> None:
    assert int(await ask(postgres_url, "SHOW server_version_num")) >= 18_00_00
    assert (await ask(postgres_url, "SELECT version()")).startswith("PostgreSQL 18")


@pytest.mark.needs_postgres
async def test_each_test_has_its_own_database(postgres: Postgres) -> None:
    with postgres.database() as first, postgres.database() as second:
        names = {await ask(url, "SELECT current_database()") for url in (first, second)}
    assert len(names) == 2


@pytest.mark.needs_redis
async def test_redis_answers_and_forgets(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.ping()
        assert await client.dbsize() == 0
        assert (await client.config_get("save"))["save"] == ""


@pytest.mark.needs_browser
async def test_browser_shows_a_page(page: Page) -> None:
    await page.goto("data:text/html,<title>hello</title>")
    assert await page.title() == "hello"
