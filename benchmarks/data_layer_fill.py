"""Fill: rows into a database, thousands at a time, past every layer."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

Rows = list[dict[str, Any]]
# Rows by the statement that inserts them, in the order in which the statements have to run.
Round = dict[sa.Executable, Rows]

_LARGEST_ROUND = 4_000
_INVERTED = sa.text("SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%USING gin%'")


def rounds(threads: Iterable[Round]) -> Iterator[Round]:
    """Put the rows of whole threads together: no round has to wait for another."""
    waiting: Round = {}
    for thread in threads:
        for statement, rows in thread.items():
            if rows:
                waiting.setdefault(statement, []).extend(rows)
        if sum(map(len, waiting.values())) >= _LARGEST_ROUND:
            yield waiting
            waiting = {}
    if waiting:
        yield waiting


async def create(url: str, statements: Iterable[str]) -> None:
    """Run statements that make tables."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))
    await engine.dispose()


async def fill(url: str, rows: Iterable[Round]) -> None:
    """Write it all in one transaction."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for some in rows:
            for statement, batch in some.items():
                await connection.execute(statement, batch)
    await engine.dispose()


@asynccontextmanager
async def loading(url: str) -> AsyncIterator[None]:
    """Fill a database here: PostgreSQL's inverted indexes are remade at the end, which is faster.

    Then come the statistics, which autovacuum gives to a database that lives within a minute.
    """
    if make_url(url).get_backend_name() != "postgresql":
        yield
        return
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        indexes = (await connection.execute(_INVERTED)).all()
        for index in indexes:
            await connection.execute(sa.text(f"DROP INDEX {index.indexname}"))
        yield
        for index in indexes:
            await connection.execute(sa.text(index.indexdef))
        await connection.execute(sa.text("VACUUM ANALYZE"))
    await engine.dispose()
