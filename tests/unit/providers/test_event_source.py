"""The deadline of a wait, on both event loops."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from providers.event_source import EventSource
from tests.unit.providers.support import connection


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def test_second_wait_may_begin_before_a_deadline_that_is_past_rings() -> None:
    """uvloop's handle for a time that is past is another kind, that does not know its time."""
    rang: list[type[BaseException]] = []
    content = SimpleNamespace(set_exception=lambda error: rang.append(type(error)))
    response: Any = SimpleNamespace(content_type="text/event-stream", content=content)
    source = EventSource(connection("http://127.0.0.1:1"), response, 0.0)
    past = asyncio.get_running_loop().time() - 1
    source._waits_until = past
    source._set_timer(past)
    source._set_timer(past - 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.close()
    assert rang == [TimeoutError]
