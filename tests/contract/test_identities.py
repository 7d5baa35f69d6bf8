"""Sign-ins, API keys, guests who sign in and guests who do not come back, on both databases."""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from data_layer.administration import SqlAdministration
from data_layer.adopting import SqlAdopter
from data_layer.api_keys import SqlApiKeys
from data_layer.database import Database
from data_layer.elements import SqlElements
from data_layer.guest_sweep import GuestSweep
from data_layer.local_storage import LocalStorage
from data_layer.sign_ins import SqlSignIns
from data_layer.storage import StorageConfig
from data_layer.tables import threads, users
from data_layer.threads import SqlThreads
from data_layer.turns import SqlTurnStore
from data_layer.writer import Writer
from parley.auth.api_keys import make_key
from parley.auth.principal import Scope
from parley.chat.attachments import Attachment, NewAttachment
from parley.chat.errors import NotFound
from parley.chat.identities import Profile, SignIn, SignInState
from parley.chat.turns import Owner
from parley.context.memory_store import MemoryContextStore
from tests.contract.support import a_turn, an_end

NOW = datetime.now(UTC)
SOON, BEFORE = NOW + timedelta(hours=1), NOW - timedelta(hours=1)


@pytest.fixture
def sign_ins(database: Database, writer: Writer) -> SqlSignIns:
    return SqlSignIns(database, writer)


@pytest.fixture
def keys(database: Database, writer: Writer) -> SqlApiKeys:
    return SqlApiKeys(database, writer)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(StorageConfig(tmp_path / "files"))


def new_id() -> str:
    return str(uuid4())


async def somebody(sign_ins: SqlSignIns) -> Owner:
    return await sign_ins.put_user(f"https://op.example|{new_id()}", "generic", PROFILE)


PROFILE = Profile("Ann", "ann@example.org", "https://p.example/a.png", ("staff",))


async def signed_in(
    sign_ins: SqlSignIns, owner: Owner, *, expires_at: datetime = SOON, token: str | None = None
) -> SignIn:
    sign_in = SignIn(new_id(), owner, "generic", PROFILE, NOW, NOW, expires_at, token)
    await sign_ins.begin(sign_in, f"digest of {sign_in.id}")
    return sign_in


async def test_a_sign_in_is_found_by_its_digest(sign_ins: SqlSignIns) -> None:
    sign_in = await signed_in(sign_ins, await somebody(sign_ins), token="sealed")
    assert await sign_ins.find(f"digest of {sign_in.id}", NOW) == sign_in
    assert await sign_ins.find("guessed", NOW) is None
    assert "sealed" not in repr(sign_in)


async def test_who_signs_in_again_is_the_same(sign_ins: SqlSignIns) -> None:
    owner = await somebody(sign_ins)
    assert await sign_ins.put_user(owner.identifier, "generic", PROFILE) == owner


async def test_a_sign_in_lasts_as_long_as_it_is_used(sign_ins: SqlSignIns) -> None:
    sign_in = await signed_in(sign_ins, await somebody(sign_ins))
    digest, later = f"digest of {sign_in.id}", SOON + timedelta(minutes=1)
    assert await sign_ins.find(digest, later) is None
    await sign_ins.seen(sign_in, NOW, SOON + timedelta(hours=1))
    assert await sign_ins.find(digest, later) is not None


async def test_what_has_ended_stays_so(sign_ins: SqlSignIns) -> None:
    owner = await somebody(sign_ins)
    one, other = [await signed_in(sign_ins, owner, token="sealed") for _ in range(2)]
    assert await sign_ins.end(owner.id, NOW, one.id) == [one.id]
    await sign_ins.seen(one, NOW, SOON)
    assert await sign_ins.find(f"digest of {one.id}", NOW) is None
    assert [s.id for s in await sign_ins.of_owner(owner.id, NOW)] == [other.id]
    assert await sign_ins.end(owner.id, NOW) == [other.id]
    assert await sign_ins.sealed_token(owner.id, NOW) is None


async def test_nobody_ends_anothers(sign_ins: SqlSignIns) -> None:
    mine = await signed_in(sign_ins, await somebody(sign_ins))
    for id in (mine.id, new_id(), "no id"):
        assert await sign_ins.end((await somebody(sign_ins)).id, NOW, id) == []
    assert await sign_ins.find(f"digest of {mine.id}", NOW) is not None


async def test_the_newest_token_is_the_owners(sign_ins: SqlSignIns) -> None:
    owner = await somebody(sign_ins)
    await signed_in(sign_ins, owner, token="sealed")
    await signed_in(sign_ins, owner)
    assert await sign_ins.sealed_token(owner.id, NOW) == "sealed"
    assert await sign_ins.sealed_token(owner.id, SOON) is None


async def test_what_is_over_is_said_of_all_at_once(sign_ins: SqlSignIns, keys: SqlApiKeys) -> None:
    owner = await somebody(sign_ins)
    good, old = (
        await signed_in(sign_ins, owner),
        await signed_in(sign_ins, owner, expires_at=BEFORE),
    )
    lasting, expired, revoked = (
        make_key(owner, "k", [Scope.READ], at) for at in (None, BEFORE, None)
    )
    for new in (lasting, expired, revoked):
        await keys.add(new.key, new.digest)
    await keys.revoke(owner.id, revoked.key.id, NOW)
    gone = new_id()
    over = await sign_ins.over(
        [good.id, old.id, gone], [lasting.key.id, expired.key.id, revoked.key.id], NOW
    )
    assert over == {old.id, gone, expired.key.id, revoked.key.id}


async def test_a_state_is_taken_once(sign_ins: SqlSignIns) -> None:
    state = SignInState("generic", "b", "nonce", "verifier", "/", SOON)
    digest = new_id()
    await sign_ins.keep_state(digest, state, NOW)
    assert await sign_ins.take_state(digest) == state
    assert await sign_ins.take_state(digest) is None


async def test_states_that_never_came_back_go(sign_ins: SqlSignIns) -> None:
    old, new = new_id(), new_id()
    await sign_ins.keep_state(old, SignInState("g", "b", "n", "v", "/", BEFORE), BEFORE)
    await sign_ins.keep_state(new, SignInState("g", "b", "n", "v", "/", SOON), NOW)
    assert await sign_ins.take_state(old) is None


async def test_a_key_is_kept_by_its_digest_alone(
    sign_ins: SqlSignIns, keys: SqlApiKeys, database: Database
) -> None:
    owner = await somebody(sign_ins)
    new = make_key(owner, "laptop", [Scope.READ, Scope.CHAT], SOON)
    await keys.add(new.key, new.digest)
    found = await keys.find(new.digest)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (new.key.id, "laptop", ("read", "chat"))
    assert found.profile == PROFILE
    rows = await database.read(lambda c: repr(c.execute(sa.text("SELECT * FROM api_keys")).all()))
    assert new.text not in rows
    await keys.used(new.key, NOW)
    assert [key.used_at for key in await keys.of_owner(owner.id)] == [NOW]


async def test_nobody_revokes_anothers_key(sign_ins: SqlSignIns, keys: SqlApiKeys) -> None:
    new = make_key(await somebody(sign_ins), "k", [Scope.READ], None)
    await keys.add(new.key, new.digest)
    for key_id in (new.key.id, new_id(), "no id"):
        with pytest.raises(NotFound):
            await keys.revoke((await somebody(sign_ins)).id, key_id, NOW)


def a_guest() -> Owner:
    return Owner(id := new_id(), f"guest:{id}")


async def content() -> AsyncIterator[bytes]:
    yield b"a file"


async def said(database: Database, writer: Writer, owner: Owner, text: str) -> str:
    """Have somebody say something and be answered; gives the thread's id."""
    store = SqlTurnStore(database, writer)
    thread_id = new_id()
    begun = await store.begin(a_turn(owner, thread_id, text))
    await store.finish(begun.turn, an_end("an answer about porcupines"))
    return thread_id


async def attach_to(thread_id: str, owner: Owner, elements: SqlElements) -> Attachment:
    attachment: AsyncIterable[bytes] = content()
    return await elements.attach(
        owner, NewAttachment(new_id(), thread_id, new_id(), "a.txt", "text/plain"), attachment
    )


async def test_a_guest_who_signs_in_keeps_everything(
    sign_ins: SqlSignIns, database: Database, writer: Writer, storage: LocalStorage
) -> None:
    guest, user = a_guest(), await somebody(sign_ins)
    thread_id = await said(database, writer, guest, "tell me of hedgehogs")
    elements = SqlElements(database, writer, storage)
    row = await SqlThreads(database, writer).thread(guest.id, thread_id)
    kept = await attach_to(thread_id, guest, elements)
    await SqlAdopter(database, writer, storage, MemoryContextStore()).adopt(guest, user)

    moved = SqlThreads(database, writer)
    assert (await moved.thread(user.id, thread_id)).name == row.name
    with pytest.raises(NotFound):
        await moved.thread(guest.id, thread_id)
    for word in ("hedgehogs", "porcupines"):
        page = await moved.page(user.id, limit=5, search=word)
        assert [found.id for found in page.rows] == [thread_id]
    found = await elements.find(user.id, kept.id)
    assert b"".join([piece async for piece in elements.read(found, 0, 100)]) == b"a file"
    with pytest.raises(NotFound):
        await elements.find(guest.id, kept.id)
    left = await database.read(
        lambda c: c.execute(sa.select(users.c.id).where(users.c.id == guest.id)).all()
    )
    assert left == []


async def test_a_thread_that_is_being_answered_follows_later(
    sign_ins: SqlSignIns, database: Database, writer: Writer, storage: LocalStorage
) -> None:
    guest, user = a_guest(), await somebody(sign_ins)
    store, thread_id = SqlTurnStore(database, writer), new_id()
    begun = await store.begin(a_turn(guest, thread_id, "a long story"))
    adopter = SqlAdopter(database, writer, storage)
    await adopter.adopt(guest, user)
    assert await store.owns_thread(guest.id, thread_id)
    await store.finish(begun.turn, an_end("the end"))
    await adopter.adopt(guest, user)
    assert await store.owns_thread(user.id, thread_id)
    assert not await store.owns_thread(guest.id, thread_id)


async def test_a_file_that_is_gone_keeps_no_conversation_back(
    sign_ins: SqlSignIns, database: Database, writer: Writer, storage: LocalStorage
) -> None:
    guest, user = a_guest(), await somebody(sign_ins)
    thread_id = await said(database, writer, guest, "with a file")
    await attach_to(thread_id, guest, SqlElements(database, writer, storage))
    await storage.delete_owner(guest.id)
    await SqlAdopter(database, writer, storage).adopt(guest, user)
    assert await SqlTurnStore(database, writer).owns_thread(user.id, thread_id)


async def test_what_cannot_be_moved_keeps_nobody_else_waiting(
    sign_ins: SqlSignIns, database: Database, writer: Writer, storage: LocalStorage, tmp_path: Path
) -> None:
    of_less = LocalStorage(StorageConfig(tmp_path / "files", limit_bytes=1))
    adopter = SqlAdopter(database, writer, of_less)
    stuck, store = a_guest(), SqlTurnStore(database, writer)
    thread_id = await said(database, writer, stuck, "with a file that is too large by now")
    await attach_to(thread_id, stuck, SqlElements(database, writer, storage))
    await adopter.adopt(stuck, await somebody(sign_ins))

    guest, user = a_guest(), await somebody(sign_ins)
    begun = await store.begin(a_turn(guest, new_id(), "a long story"))
    await adopter.adopt(guest, user)
    await store.finish(begun.turn, an_end("the end"))
    await adopter.catch_up()
    assert await store.owns_thread(stuck.id, thread_id)
    assert await store.owns_thread(user.id, begun.turn.thread_id)


async def test_guests_who_did_nothing_for_long_are_forgotten(
    sign_ins: SqlSignIns, database: Database, writer: Writer, storage: LocalStorage
) -> None:
    idle, lately, user = a_guest(), a_guest(), await somebody(sign_ins)
    old = [await said(database, writer, owner, "once") for owner in (idle, user)]
    await said(database, writer, lately, "just now")
    long_ago = NOW - timedelta(days=40)

    def age(connection: sa.Connection) -> None:
        connection.execute(sa.update(users).values(created_at=long_ago))
        aged = sa.update(threads).where(threads.c.id.in_(old))
        connection.execute(aged.values(last_active_at=long_ago))

    await database.write(age)
    sweep = GuestSweep(database, writer, storage, MemoryContextStore(), days=30)
    while await sweep.sweep(NOW):
        pass
    left = set(await database.read(lambda c: c.execute(sa.select(users.c.id)).scalars().all()))
    assert idle.id not in left
    assert {lately.id, user.id} <= left


async def test_what_users_used_is_counted(
    sign_ins: SqlSignIns, database: Database, writer: Writer
) -> None:
    one, other = [await somebody(sign_ins) for _ in range(2)]
    for owner in (one, other, one):
        await said(database, writer, owner, "how much?")
    rows = await SqlAdministration(database).usage(BEFORE, 1000)
    turns = {row.user_id: row.turns for row in rows}
    assert (turns[one.id], turns[other.id]) == (2, 1)
    assert await SqlAdministration(database).usage(SOON, 1000) == []


async def test_an_administrator_may_read_what_is_a_users(
    sign_ins: SqlSignIns, database: Database, writer: Writer
) -> None:
    owner = await somebody(sign_ins)
    await said(database, writer, owner, "a word of mine")
    pieces = await SqlAdministration(database).conversations(owner.id)
    assert "a word of mine" in "".join([piece async for piece in pieces])
    with pytest.raises(NotFound):
        await SqlAdministration(database).conversations(new_id())
