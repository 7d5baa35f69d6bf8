"""Sharing: what others see of a thread, and that they see no more, and only while it is shared."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from data_layer.database import Database
from data_layer.elements import NewElement, SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.sharing import SqlSharing
from data_layer.storage import StorageConfig
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.attachments import shared_download_path
from parley.chat.errors import NotFound
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_end, an_owner
from tests.contract.test_statements import counted


@pytest.fixture
def sharing(database: Database, writer: Writer) -> SqlSharing:
    return SqlSharing(database, writer)


@pytest.fixture
def turns(database: Database, writer: Writer) -> SqlTurnStore:
    return SqlTurnStore(database, writer)


async def say(turns: SqlTurnStore, owner: Owner, thread_id: str, text: str, **more: object) -> str:
    """Ask and be answered; gives the turn's id."""
    turn = (await turns.begin(a_turn(owner, thread_id, text, **more))).turn
    await turns.finish(turn, an_end(f"answer to {text}", receipt={"secret receipt": 1}))
    return turn.id


async def refused(sharing: SqlSharing, thread_id: str) -> str:
    with pytest.raises(NotFound) as error:
        await sharing.view(thread_id)
    return error.value.message


async def test_shared_thread_shows_the_chosen_branch(
    sharing: SqlSharing, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await say(turns, owner, thread_id, "one")
    second = await say(turns, owner, thread_id, "two")
    await say(turns, owner, thread_id, "another two", replaces=second)
    await sharing.share(owner.id, thread_id, is_shared=True)
    seen = await sharing.view(thread_id.upper())
    said = [(step["type"], step["output"]) for step in seen["steps"]]
    assert said == [
        ("user_message", "one"),
        ("assistant_message", "answer to one"),
        ("user_message", "another two"),
        ("assistant_message", "answer to another two"),
    ]
    assert (seen["id"], seen["name"]) == (thread_id, "one")


async def test_viewers_never_learn_whose_it_is(
    database: Database,
    writer: Writer,
    sharing: SqlSharing,
    turns: SqlTurnStore,
    owner: Owner,
    thread_id: str,
) -> None:
    await say(turns, owner, thread_id, "one", system_prompt="secret prompt")
    await SqlThreads(database, writer).merge_metadata(owner.id, thread_id, {"secret": "secret"})
    await sharing.share(owner.id, thread_id, is_shared=True)
    seen = json.dumps(await sharing.view(thread_id))
    for private in ("secret", owner.id, owner.identifier, "hm", "generation", "receipt"):
        assert private not in seen


async def test_what_is_not_shared_looks_like_nothing(
    database: Database,
    writer: Writer,
    sharing: SqlSharing,
    turns: SqlTurnStore,
    owner: Owner,
    thread_id: str,
) -> None:
    await say(turns, owner, thread_id, "one")
    said = {await refused(sharing, id) for id in (thread_id, str(uuid4()), "no id'; --", "")}
    await sharing.share(owner.id, thread_id, is_shared=True)
    await sharing.view(thread_id)
    await sharing.share(owner.id, thread_id, is_shared=False)
    said.add(await refused(sharing, thread_id))
    await sharing.share(owner.id, thread_id, is_shared=True)
    await SqlThreads(database, writer).delete(owner.id, thread_id)
    said.add(await refused(sharing, thread_id))
    assert len(said) == 1


async def test_only_the_owner_shares(
    sharing: SqlSharing, turns: SqlTurnStore, owner: Owner, thread_id: str
) -> None:
    await say(turns, owner, thread_id, "one")
    for is_shared in (True, False):
        with pytest.raises(NotFound):
            await sharing.share(an_owner().id, thread_id, is_shared=is_shared)
        with pytest.raises(NotFound):
            await sharing.share(owner.id, "no id", is_shared=is_shared)
    await refused(sharing, thread_id)


async def test_metadata_neither_shares_nor_unshares(
    database: Database,
    writer: Writer,
    sharing: SqlSharing,
    turns: SqlTurnStore,
    owner: Owner,
    thread_id: str,
) -> None:
    """A disconnect writes back what the session found when it began."""
    threads = SqlThreads(database, writer)
    await say(turns, owner, thread_id, "one")
    await threads.merge_metadata(owner.id, thread_id, {"is_shared": True})
    await refused(sharing, thread_id)
    await sharing.share(owner.id, thread_id, is_shared=True)
    await threads.merge_metadata(owner.id, thread_id, {"is_shared": False, "shared_at": None})
    assert await sharing.view(thread_id)


async def test_files_belong_to_what_is_shown(
    database: Database,
    writer: Writer,
    sharing: SqlSharing,
    turns: SqlTurnStore,
    owner: Owner,
    thread_id: str,
    tmp_path: Path,
) -> None:
    files = SqlElements(database, writer, LocalStorage(StorageConfig(tmp_path)))
    first = (await turns.begin(a_turn(owner, thread_id, "one"))).turn
    await turns.finish(first, an_end())
    second = (await turns.begin(a_turn(owner, thread_id, "uno", replaces=first.id))).turn
    await turns.finish(second, an_end())
    shown, hidden = [
        NewElement(
            id=str(uuid4()),
            thread_id=thread_id,
            step_id=turn.user_step_id,
            type="file",
            name="a.txt",
            display="inline",
            mime="text/plain",
            url=None,
            extra={},
            content=b"words",
        )
        for turn in (second, first)
    ]
    await files.put(owner, shown)
    await files.put(owner, hidden)
    with pytest.raises(NotFound):
        await sharing.owner_of_file(thread_id, shown.id)
    await sharing.share(owner.id, thread_id, is_shared=True)
    (element,) = (await sharing.view(thread_id))["elements"] or []
    assert element["url"] == shared_download_path(thread_id, shown.id)
    with counted() as cost:
        assert await sharing.owner_of_file(thread_id, shown.id) == owner.id
    assert len(cost.statements) == 1
    for other in (hidden.id, str(uuid4()), "no id"):
        with pytest.raises(NotFound):
            await sharing.owner_of_file(thread_id, other)
    with pytest.raises(NotFound):
        await sharing.owner_of_file(str(uuid4()), shown.id)
    await SqlThreads(database, writer).delete(owner.id, thread_id)
    with pytest.raises(NotFound):
        await sharing.owner_of_file(thread_id, shown.id)
