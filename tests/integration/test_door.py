"""The door without a server: opened late, closed once, and never anybody's but the caller's."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from chainlit.context import ChainlitContext, context_var
from chainlit.element import File
from chainlit.session import HTTPSession
from chainlit.step import StepDict
from chainlit.user import User
from structlog.testing import capture_logs

import data_layer
from data_layer.door import AppDataLayer
from data_layer.element_dicts import new_element
from parley.chat.errors import ShuttingDown, StorageUnavailable, TooLarge, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from tests.contract.layer_support import a_step, steps_of
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """Begin and end as a process does in which nobody has called yet."""
    token = current_owner.set(None)
    yield
    current_owner.reset(token)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new/chat.db"


def opened_at(url: str, tmp_path: Path) -> AppDataLayer:
    return data_layer.open_data_layer(url, storage_directory=tmp_path / "files")


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_block_gives_a_layer_that_works(url: str, tmp_path: Path) -> None:
    thread_id = str(uuid4())
    async with opened_at(url, tmp_path) as layer:
        await layer.create_user(User(identifier="ada"))
        await layer.create_step(a_step(thread_id, "kept"))
        assert [step["output"] for step in await steps_of(layer, thread_id)] == ["kept"]


@pytest.mark.needs_postgres
async def test_postgres_works_the_same(postgres_url: str, tmp_path: Path) -> None:
    await test_block_gives_a_layer_that_works(postgres_url, tmp_path)


async def test_nothing_is_opened_before_it_is_needed(url: str, tmp_path: Path) -> None:
    layer = opened_at(url, tmp_path)
    assert names_in(tmp_path) == []
    assert await layer.get_user("ada") is None
    assert "new" in names_in(tmp_path)
    await layer.close()


async def test_what_a_crash_left_is_swept(url: str, tmp_path: Path) -> None:
    leftover = tmp_path / "files" / ".parts" / "old"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    os.utime(leftover, (0, 0))
    async with opened_at(url, tmp_path) as layer, asyncio.timeout(PATIENCE_S):
        while leftover.exists():
            await layer.get_user("ada")


async def test_unknown_chainlit_is_said_when_it_opens(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(StepDict.__annotations__, "sparkle", str)
    with capture_logs() as lines:
        layer = opened_at(url, tmp_path)
        assert lines == []
        async with layer:
            assert [line["what"] for line in lines if "what" in line] == ["sparkle"]


async def test_too_large_a_file_names_the_parameter(url: str, tmp_path: Path) -> None:
    layer = data_layer.open_data_layer(
        url, storage_directory=tmp_path / "files", limit_upload_bytes=3
    )
    async with layer:
        ada = await layer.create_user(User(identifier="ada"))
        assert ada
        file = File(name="x", content=b"four", thread_id=str(uuid4()))
        with pytest.raises(TooLarge, match="limit_upload_bytes"):
            await layer._files.put(Owner(ada.id, "ada"), new_element(file, None))


async def test_close_writes_what_waits(url: str, tmp_path: Path) -> None:
    thread_id, layer = str(uuid4()), opened_at(url, tmp_path)
    await layer.create_user(User(identifier="ada"))
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(layer.create_step(a_step(thread_id, str(number))))
        await asyncio.sleep(0)
        await layer.close()
    async with opened_at(url, tmp_path) as layer:
        await layer.get_user("ada")
        assert len(await steps_of(layer, thread_id)) == 50


async def test_closed_layer_stays_closed(url: str, tmp_path: Path) -> None:
    layer = opened_at(url, tmp_path)
    await layer.close()
    await layer.close()
    with pytest.raises(ShuttingDown):
        await layer.get_user("ada")
    with pytest.raises(ShuttingDown):
        await layer.create_user(User(identifier="ada"))


async def test_missing_database_is_asked_again(url: str, tmp_path: Path) -> None:
    in_the_way = tmp_path / "new"
    in_the_way.write_text("not a directory")
    layer = opened_at(url, tmp_path)
    with pytest.raises(StorageUnavailable):
        await layer.get_user("ada")
    in_the_way.unlink()
    assert await layer.create_user(User(identifier="ada"))
    await layer.close()


async def test_missing_database_keeps_its_password(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable) as refused:
        async with opened_at("postgresql://ada:secret@127.0.0.1:1/chat", tmp_path):
            pass
    assert "secret" not in refused.value.message


async def test_callers_are_who_signed_in_last(url: str, tmp_path: Path) -> None:
    thread_id = str(uuid4())
    async with opened_at(url, tmp_path) as layer:
        with pytest.raises(Unauthenticated):
            await layer.get_thread_author(thread_id)
        await layer.create_user(User(identifier="ada"))
        await layer.create_step(a_step(thread_id))
        assert await layer.get_thread_author(thread_id) == "ada"
        await layer.create_user(User(identifier="grace"))
        assert await layer.get_thread_author(thread_id) == ""
        assert await layer.get_thread(thread_id) is None


async def test_session_of_another_user_is_nobodys(url: str, tmp_path: Path) -> None:
    """Chainlit takes the session that a request names before it looks whose it is."""
    thread_id = str(uuid4())
    async with opened_at(url, tmp_path) as layer:
        ada = await layer.create_user(User(identifier="ada"))
        await layer.create_user(User(identifier="grace"))
        session = HTTPSession(
            id="x", client_type="webapp", thread_id=thread_id, user=ada, token=None, user_env=None
        )
        token = context_var.set(ChainlitContext(session))
        try:
            await layer.create_step(a_step(thread_id))
        finally:
            context_var.reset(token)
        await layer.get_user("ada")
        assert await layer.get_thread(thread_id) is None
