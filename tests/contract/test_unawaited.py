"""Writes that nobody waits for: tried again, counted, logged without a word of the user's."""

import asyncio
from uuid import uuid4

import pytest
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from chainlit.types import Feedback, Pagination, ThreadFilter
from structlog.testing import capture_logs

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.contract import check_contract
from data_layer.database import Database
from data_layer.unawaited import Unawaited
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, StorageUnavailable
from parley.chat.turns import Owner
from parley.observability.metrics import REGISTRY
from tests.contract.layer_support import a_step, as_owner, outputs_of


class Flaky:
    """A write that fails as long as it is told to."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.tries = failures, error, 0

    async def __call__(self) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error


def away() -> StorageUnavailable:
    return StorageUnavailable("secret text", retry_after_s=1)


def lost(operation: str) -> float:
    found = REGISTRY.get_sample_value("parley_store_errors_total", {"operation": operation})
    return found or 0.0


async def test_write_is_tried_again_until_the_database_is_back() -> None:
    write, before = Flaky(2, away()), lost("a")
    await Unawaited(pauses_s=(0, 0)).run("a", write)
    assert (write.tries, lost("a")) == (3, before)


@pytest.mark.parametrize(
    ("error", "tries", "kind"),
    [
        (away(), 3, "storage_unavailable"),
        (InvalidRequest("secret text"), 1, "invalid_request"),
        (RuntimeError("secret text"), 1, "RuntimeError"),
    ],
)
async def test_lost_write_is_counted_and_logged_without_its_text(
    error: Exception, tries: int, kind: str
) -> None:
    write, before = Flaky(9, error), lost("b")
    with capture_logs() as lines:
        await Unawaited(pauses_s=(0, 0)).run("b", write)
    assert (write.tries, lost("b")) == (tries, before + 1)
    assert [(line["operation"], line["error"]) for line in lines] == [("b", kind)]
    assert "secret" not in str(lines)


async def test_close_waits_for_what_is_under_way_and_for_no_pause() -> None:
    unawaited, write = Unawaited(pauses_s=(3600, 3600)), Flaky(1, away())
    running = asyncio.ensure_future(unawaited.run("c", write))
    await asyncio.sleep(0)
    assert write.tries == 1
    await unawaited.drain()
    assert write.tries == 2
    await running


async def test_layer_closes_when_its_writes_are_kept(
    database: Database, writer: Writer, owner: Owner, thread_id: str
) -> None:
    layer = ChainlitLayer(database, writer)
    with as_owner(owner):
        running = [
            asyncio.ensure_future(layer.create_step(a_step(thread_id, str(number))))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        await layer.close()
        assert all(one.done() for one in running)
        assert len(await outputs_of(layer, thread_id)) == 20


async def test_nobodys_write_is_dropped_and_counted(
    database: Database, writer: Writer, thread_id: str
) -> None:
    before = lost("create_step")
    await ChainlitLayer(database, writer).create_step(a_step(thread_id))
    assert lost("create_step") == before + 1


async def test_nothing_is_kept_before_the_user_says_something(
    database: Database, writer: Writer, owner: Owner
) -> None:
    layer, session = ChainlitLayer(database, writer), a_session()
    step = a_step(session.thread_id, "")

    async def greet() -> None:
        init_ws_context(session)
        await layer.update_step({**step, "output": "welcome"})
        await layer.create_step(step)
        step["output"] = "changed since"

    with as_owner(owner):
        await asyncio.ensure_future(greet())  # in a context of its own
        assert await layer.get_thread(session.thread_id) is None
        await session.flush_method_queue()  # type: ignore[no-untyped-call]  # Chainlit's
        assert await outputs_of(layer, session.thread_id) == ["welcome"]
    await session.delete()  # type: ignore[no-untyped-call]  # Chainlit's


def a_session() -> WebsocketSession:
    async def silent(*_: object) -> None: ...

    return WebsocketSession(
        id=str(uuid4()),
        socket_id=str(uuid4()),
        emit=silent,  # type: ignore[arg-type]  # the session emits nothing here
        emit_call=silent,
        client_type="webapp",
        user_env={},
        thread_id=None,
    )


def test_installed_chainlit_is_known() -> None:
    with capture_logs() as lines:
        check_contract()
    assert lines == []


def test_key_that_chainlit_adds_or_drops_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(StepDict.__annotations__, "sparkle", str)
    monkeypatch.delitem(Feedback.__annotations__, "comment")
    monkeypatch.setitem(Pagination.__annotations__, "last", int)
    monkeypatch.setitem(ThreadFilter.__annotations__, "tag", str)
    with capture_logs() as lines:
        check_contract()
    told = {(line["log_level"], line["where"], line["what"]) for line in lines}
    changed = {
        ("StepDict", "sparkle"),
        ("Feedback", "comment"),
        ("Pagination", "last"),
        ("ThreadFilter", "tag"),
    }
    assert told == {("warning", *one) for one in changed}
