"""Elements: rows and bytes that belong together, in any order of calls, and to one owner."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from chainlit.element import CustomElement, File, Image

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.database import Database
from data_layer.element_dicts import new_element
from data_layer.elements import NewElement, SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.chat.attachments import ANY_TYPE, NewAttachment
from parley.chat.errors import Forbidden, InvalidRequest, NotFound, TooLarge
from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from tests.contract.support import a_turn, an_owner
from tests.contract.test_statements import counted

LIMIT = 1000


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(StorageConfig(tmp_path / "files", LIMIT))


@pytest.fixture
def elements(database: Database, writer: Writer, storage: LocalStorage) -> SqlElements:
    return SqlElements(database, writer, storage)


@pytest.fixture
def layer(database: Database, writer: Writer, elements: SqlElements) -> ChainlitLayer:
    return ChainlitLayer(database, writer, elements=elements)


@contextmanager
def as_owner(owner: Owner) -> Iterator[None]:
    token = current_owner.set(owner)
    try:
        yield
    finally:
        current_owner.reset(token)


def an_element(
    thread_id: str, content: bytes | Path | None = b"bytes", **changes: object
) -> NewElement:
    element = NewElement(
        id=str(uuid4()),
        thread_id=thread_id,
        step_id=str(uuid4()),
        type="file",
        name="a.txt",
        display="inline",
        mime="text/plain",
        url=None,
        extra={"page": 1},
        content=content,
    )
    return replace(element, **changes)  # type: ignore[arg-type]  # names of NewElement


async def kept_keys(storage: LocalStorage, owner: Owner) -> set[str]:
    return {found.key async for found in storage.objects(owner.id)}


async def content_of(elements: SqlElements, owner: Owner, element_id: str) -> bytes:
    found = await elements.find(owner.id, element_id)
    return b"".join([piece async for piece in elements.read(found, 0, found.size_bytes)])


async def test_element_may_come_before_its_step_and_thread(
    elements: SqlElements,
    layer: ChainlitLayer,
    database: Database,
    writer: Writer,
    owner: Owner,
    thread_id: str,
) -> None:
    new = an_element(thread_id)
    await elements.put(owner, new)
    turn = a_turn(owner, thread_id, user_step_id=new.step_id)
    await SqlTurnStore(database, writer).begin(turn)
    with as_owner(owner):
        thread = await layer.get_thread(thread_id)
    assert thread is not None
    (shown,) = thread["elements"] or []
    assert shown == {
        "id": new.id,
        "threadId": thread_id,
        "forId": new.step_id,
        "type": "file",
        "name": "a.txt",
        "display": "inline",
        "mime": "text/plain",
        "url": f"/files/{new.id}",
        "page": 1,
        **dict.fromkeys(
            ("chainlitKey", "objectKey", "size", "language", "props", "autoPlay", "playerConfig")
        ),
    }
    assert await content_of(elements, owner, new.id) == b"bytes"


async def test_delete_before_create_holds(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    await elements.delete(owner, new.id)
    await elements.put(owner, new)
    assert await elements.element(owner.id, thread_id, new.id) is None
    assert await kept_keys(storage, owner) == set()


async def test_later_put_replaces_and_its_old_bytes_go(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id, b"one")
    async with asyncio.TaskGroup() as tasks:
        for content in (b"one", b"one", b"two"):
            tasks.create_task(elements.put(owner, replace(new, content=content)))
    assert await content_of(elements, owner, new.id) == b"two"
    assert len(await kept_keys(storage, owner)) == 1


async def test_copies_for_another_step_have_the_same_bytes(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    new, other, to_step_id = an_element(thread_id), an_element(thread_id), str(uuid4())
    for element in (new, other):
        await elements.put(owner, element)
    (copied,) = await elements.copy(owner, thread_id, str(new.step_id), to_step_id)
    before = await elements.element(owner.id, thread_id, new.id)
    after = await elements.element(owner.id, thread_id, copied)
    assert before is not None
    assert after is not None
    assert {**before._mapping, "id": copied, "step_id": to_step_id} == dict(after._mapping)
    assert await elements.copy(owner, thread_id, str(uuid4()), to_step_id) == []
    for element in (new, other):
        await elements.delete(owner, element.id)
    assert await content_of(elements, owner, copied) == b"bytes"
    await elements.delete(owner, copied)
    assert await kept_keys(storage, owner) == set()


async def test_bytes_stay_while_another_element_has_them(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    first, second = an_element(thread_id), an_element(str(uuid4()))
    await elements.put(owner, first)
    await elements.put(owner, second)
    await elements.delete(owner, first.id)
    assert await content_of(elements, owner, second.id) == b"bytes"
    await elements.delete(owner, second.id, second.thread_id)
    assert await kept_keys(storage, owner) == set()


@pytest.mark.parametrize("servers", [1, 2])
async def test_put_and_delete_of_the_same_bytes_never_lose_them(
    database: Database,
    writer: Writer,
    elements: SqlElements,
    storage: LocalStorage,
    tmp_path: Path,
    owner: Owner,
    thread_id: str,
    servers: int,
) -> None:
    rows = [an_element(thread_id) for _ in range(20)]
    same_directory = LocalStorage(StorageConfig(tmp_path / "files", LIMIT))
    other = elements if servers == 1 else SqlElements(database, writer, same_directory)
    await elements.put(owner, rows[0])
    for before, after in pairwise(rows):
        await asyncio.gather(elements.put(owner, after), other.delete(owner, before.id))
        assert await content_of(elements, owner, after.id) == b"bytes"
    await elements.delete(owner, rows[-1].id)
    assert await kept_keys(storage, owner) == set()


async def test_thread_that_goes_takes_its_bytes_along(
    elements: SqlElements,
    layer: ChainlitLayer,
    storage: LocalStorage,
    owner: Owner,
    thread_id: str,
) -> None:
    new, other = an_element(thread_id, b"gone"), an_element(str(uuid4()), b"stays")
    await elements.put(owner, new)
    await elements.put(owner, other)
    with as_owner(owner):
        await layer.delete_thread(thread_id)
    with pytest.raises(NotFound):
        await elements.put(owner, new)
    with pytest.raises(NotFound):
        await elements.find(owner.id, new.id)
    assert len(await kept_keys(storage, owner)) == 1


async def test_step_that_goes_takes_its_bytes_along(
    elements: SqlElements,
    layer: ChainlitLayer,
    storage: LocalStorage,
    owner: Owner,
    thread_id: str,
) -> None:
    new = an_element(thread_id)
    step = {"id": new.step_id, "threadId": thread_id, "type": "tool", "name": "t", "output": "x"}
    with as_owner(owner):
        await layer.create_step(step)  # type: ignore[arg-type]  # the keys that matter here
        await elements.put(owner, new)
        await layer.delete_step(str(new.step_id))
    assert await elements.element(owner.id, thread_id, new.id) is None
    assert await kept_keys(storage, owner) == set()


async def attach(elements: SqlElements, owner: Owner, new: NewElement) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"mine now"

    attachment = NewAttachment(new.id, new.thread_id, str(uuid4()), "b.txt", "text/plain")
    return await elements.attach(owner, attachment, pieces())


ON_AN_ELEMENT: dict[str, Callable[[SqlElements, Owner, NewElement], Awaitable[object]]] = {
    "put": lambda elements, owner, new: elements.put(owner, replace(new, content=b"mine now")),
    "put into a thread of mine": lambda elements, owner, new: elements.put(
        owner, replace(new, thread_id=str(uuid4()))
    ),
    "put beside it": lambda elements, owner, new: elements.put(owner, an_element(new.thread_id)),
    "attach": attach,
    "copy": lambda elements, owner, new: elements.copy(
        owner, new.thread_id, str(new.step_id), str(uuid4())
    ),
    "find": lambda elements, owner, new: elements.find(owner.id, new.id),
    "element": lambda elements, owner, new: elements.element(owner.id, new.thread_id, new.id),
    "delete": lambda elements, owner, new: elements.delete(owner, new.id, new.thread_id),
}


@pytest.mark.parametrize("what", ON_AN_ELEMENT)
async def test_foreign_element_is_a_missing_one_and_stays_as_it_is(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str, what: str
) -> None:
    new, stranger = an_element(thread_id), an_owner()
    row = await elements.put(owner, new)
    with suppress(NotFound):
        assert await ON_AN_ELEMENT[what](elements, stranger, new) is None
    assert await elements.element(owner.id, thread_id, new.id) == row
    assert await content_of(elements, owner, new.id) == b"bytes"
    assert await kept_keys(storage, stranger) == set()


async def test_own_element_does_not_move_to_another_thread(
    elements: SqlElements, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    await elements.put(owner, new)
    with pytest.raises(NotFound):
        await elements.put(owner, replace(new, thread_id=str(uuid4())))
    assert await elements.element(owner.id, str(uuid4()), new.id) is None


async def test_delete_in_another_thread_changes_nothing(
    elements: SqlElements, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    await elements.put(owner, new)
    await elements.delete(owner, new.id, str(uuid4()))
    assert await content_of(elements, owner, new.id) == b"bytes"
    await elements.put(owner, replace(new, content=b"other"))
    assert await content_of(elements, owner, new.id) == b"other"


async def test_every_change_names_the_owner(
    elements: SqlElements, layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    with counted() as cost, as_owner(owner):
        await elements.put(owner, new)
        await elements.put(owner, replace(new, content=b"other"))
        await elements.find(owner.id, new.id)
        await elements.delete(owner, new.id)
        await layer.delete_thread(thread_id)
    changes = [s for s in cost.statements if "elements" in s and not s.startswith("SELECT")]
    assert len(changes) == 4
    for statement in changes:
        _, _, condition = statement.partition("WHERE")
        assert "elements.owner_id =" in condition, statement


async def test_bytes_that_are_gone_are_said_to_be(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id)
    await elements.put(owner, new)
    await storage.delete_owner(owner.id)
    with pytest.raises(NotFound, match="not here any more"):
        await elements.find(owner.id, new.id)
    await elements.put(owner, new)
    assert await content_of(elements, owner, new.id) == b"bytes"


async def test_too_many_bytes_are_refused_without_a_row(
    elements: SqlElements, storage: LocalStorage, owner: Owner, thread_id: str
) -> None:
    new = an_element(thread_id, b"x" * (LIMIT + 1))
    with pytest.raises(TooLarge):
        await elements.put(owner, new)
    assert await elements.element(owner.id, thread_id, new.id) is None
    assert await kept_keys(storage, owner) == set()


async def test_url_is_kept_and_never_asked(
    elements: SqlElements, layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    url = "http://127.0.0.1:1/private"
    image = Image(name="far", url=url, thread_id=thread_id, for_id=str(uuid4()))
    with as_owner(owner):
        await layer.create_element(image)
        shown = await layer.get_element(thread_id, image.id)
    assert shown is not None
    assert (shown["url"], shown["type"], shown["size"]) == (url, "image", "medium")
    with pytest.raises(NotFound):
        await elements.find(owner.id, image.id)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "//x", "http://["])
def test_no_other_url_is_kept(url: str, thread_id: str) -> None:
    element = File(name="x", url=url, content=b"x", thread_id=thread_id)
    assert new_element(element, None).url is None


@pytest.fixture
def session_files(tmp_path: Path) -> Path:
    directory = tmp_path / "waiting" / str(uuid4())
    directory.mkdir(parents=True)
    (directory / "own").write_bytes(b"own")
    (directory.parent / "foreign").write_bytes(b"foreign")
    (directory / "link").symlink_to(directory.parent / "foreign")
    return directory


def test_file_of_the_session_is_opened(session_files: Path, thread_id: str) -> None:
    element = File(name="x", path=str(session_files / "own"), thread_id=thread_id)
    assert new_element(element, session_files).content == session_files / "own"


@pytest.mark.parametrize("path", ["../foreign", "link", "/etc/passwd", "missing", ".", "own/x"])
def test_no_other_file_is_opened(session_files: Path, thread_id: str, path: str) -> None:
    element = File(name="x", path=str(session_files / path), thread_id=thread_id)
    for directory in (session_files, None):
        with pytest.raises(Forbidden):
            new_element(element, directory)


@pytest.mark.parametrize("name", ["id", "thread_id", "for_id"])
def test_ids_are_uuids(thread_id: str, name: str) -> None:
    element = File(name="x", content=b"x", thread_id=thread_id)
    setattr(element, name, "../x")
    with pytest.raises(InvalidRequest):
        new_element(element, None)


async def test_props_come_back_made_storable(
    layer: ChainlitLayer, owner: Owner, thread_id: str
) -> None:
    props = {"text": "a\0b\ud800", "number": float("nan"), "list": [1, {"deep": None}]}
    element = CustomElement(name="Chart", props=props, thread_id=thread_id)
    with as_owner(owner):
        await layer.create_element(element)
        shown = await layer.get_element(thread_id, element.id)
    assert shown is not None
    kept = {"text": "a\ufffdb\ufffd", "number": None, "list": [1, {"deep": None}]}
    assert (shown["props"], shown["url"]) == (kept, None)


def test_props_are_bounded(thread_id: str) -> None:
    element = CustomElement(name="Chart", props={"x": "y" * 2_000_000}, thread_id=thread_id)
    with pytest.raises(TooLarge):
        new_element(element, None)


async def test_text_with_nul_and_surrogates_is_kept(
    elements: SqlElements, owner: Owner, thread_id: str
) -> None:
    element = File(name="a\0\ud800.txt", content="\ud800", thread_id=thread_id, mime="text/\0")
    assert await elements.put(owner, new_element(element, None))
    found = await elements.find(owner.id, element.id)
    assert (found.name, found.mime) == ("a\ufffd\ufffd.txt", ANY_TYPE)
