"""Fetching a model's file from a Hub, and finding it again."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.errors import (
    BrokenStream,
    CredentialsRefused,
    ModelMissing,
    ProtocolViolation,
    TooLarge,
    Unreachable,
)
from providers.hub import Hub, Offer, look_up
from providers.pull import Progress, pull
from providers.references import Reference, is_path, model_name, read_reference
from providers.weights import DEFAULT, find_suggested, find_weights, list_kept
from tests.fakes.hub import COMMIT, PIECE_BYTES, FakeHub, Repo, fake_hub
from tests.services import find_free_port

DATA = bytes(range(256)) * 4096  # 1 MiB
FILE = "sub/tiny-q8_0.gguf"
MODEL = f"org/tiny:{FILE}"


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with fake_hub(Repo("org/tiny", {FILE: DATA})) as hub:
        yield hub


@pytest.fixture
def client(hub: FakeHub, tmp_path: Path) -> Hub:
    return Hub(hub.url, cache=tmp_path)


async def pulled(offer: Offer, pauses_s: Sequence[float] = ()) -> list[Progress]:
    return [progress async for progress in pull(offer, pauses_s)]


async def test_offer_says_what_it_would_be(hub: FakeHub, client: Hub) -> None:
    offer = await look_up("org/tiny", client)
    assert (str(offer.reference), offer.size_bytes, offer.licence) == (
        MODEL,
        len(DATA),
        "apache-2.0",
    )
    assert offer.done_bytes == hub.sent_bytes == 0
    assert not offer.path.exists()


async def test_pull_fetches_with_progress(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    progress = await pulled(offer)
    assert progress[-1] == Progress(len(DATA), len(DATA))
    assert [p.done_bytes for p in progress] == sorted(p.done_bytes for p in progress)
    assert offer.path.read_bytes() == DATA
    assert find_weights(MODEL, client.cache) == find_weights("org/tiny", client.cache) == offer.path
    assert hub.sent_bytes == len(DATA)


async def test_other_programs_find_the_file(client: Hub) -> None:
    await pulled(await look_up(MODEL, client))
    found = hf_hub_download("org/tiny", FILE, cache_dir=client.cache, local_files_only=True)
    assert await asyncio.to_thread(Path(found).read_bytes) == DATA


async def test_file_of_other_programs_is_found(hub: FakeHub, client: Hub) -> None:
    await asyncio.to_thread(
        hf_hub_download, "org/tiny", FILE, cache_dir=client.cache, endpoint=hub.url, token=False
    )
    offer = await look_up(MODEL, client)
    assert offer.done_bytes == len(DATA)
    sent = hub.sent_bytes
    await pulled(offer)
    assert hub.sent_bytes == sent
    assert find_weights(MODEL, client.cache) == offer.path


async def test_broken_pull_goes_on_where_it_was(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.cut_after = 3 * PIECE_BYTES + 17
    with pytest.raises(BrokenStream, match=r"MB of 1\.0 MB. Pull again"):
        await pulled(offer)
    assert find_weights(MODEL, client.cache) is None
    await pulled(offer)
    hub.assert_resumed(3 * PIECE_BYTES + 17)
    assert offer.path.read_bytes() == DATA


async def test_broken_pull_tries_again_by_itself(hub: FakeHub, client: Hub) -> None:
    hub.cut_after, hub.stays_cut = 5 * PIECE_BYTES, True
    await pulled(offer := await look_up(MODEL, client), pauses_s=[0])
    assert offer.path.read_bytes() == DATA
    assert len(hub.ranges) > 2, "each try that brings more may be followed by another"


async def test_tries_that_bring_nothing_more_come_to_an_end(hub: FakeHub, client: Hub) -> None:
    hub.cut_after, hub.stays_cut, hub.knows_range = PIECE_BYTES, True, False
    with pytest.raises(BrokenStream, match="Pull again"):
        await pulled(await look_up(MODEL, client), pauses_s=[0, 0])
    assert 3 <= len(hub.ranges) < 9, "the last bytes of a broken connection may be lost"


async def test_cancelled_pull_keeps_what_came(hub: FakeHub, client: Hub) -> None:
    hub.gate.clear()
    offer = await look_up(MODEL, client)
    async with aclosing(pull(offer)) as progress:
        first = await anext(progress)
    hub.gate.set()
    assert 0 < first.done_bytes == offer.done_bytes < len(DATA)
    await pulled(offer)
    assert hub.ranges[-1] == f"bytes={first.done_bytes}-"


async def test_server_without_ranges_begins_again(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.cut_after, hub.knows_range = PIECE_BYTES, False
    with pytest.raises(BrokenStream):
        await pulled(offer)
    await pulled(offer)
    assert offer.path.read_bytes() == DATA


async def test_wrong_checksum_leaves_nothing_behind(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.garbled = True
    with pytest.raises(ProtocolViolation, match="checksum"):
        await pulled(offer)
    assert find_weights(MODEL, client.cache) is None
    assert offer.done_bytes == 0
    hub.garbled = False
    await pulled(offer)
    assert offer.path.read_bytes() == DATA


async def test_page_in_place_of_the_file_is_not_kept(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.cut_after = 2 * PIECE_BYTES
    with pytest.raises(BrokenStream):
        await pulled(offer)
    kept, hub.page = offer.done_bytes, "<html>Sign in</html>"
    with pytest.raises(ProtocolViolation, match=r"a web page in place of org/tiny:.* its proxy"):
        await pulled(offer)
    assert offer.done_bytes == kept
    hub.page = None
    await pulled(offer)
    assert offer.path.read_bytes() == DATA


async def test_place_of_the_file_that_is_away_is_named(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.content_url = f"http://127.0.0.1:{find_free_port()}"
    with pytest.raises(Unreachable, match="which cannot be reached"):
        await pulled(offer)


async def test_more_than_the_file_is_not_taken(hub: FakeHub, client: Hub) -> None:
    offer = await look_up(MODEL, client)
    hub.surplus = 64 * len(DATA)  # more than sockets hold
    with pytest.raises(ProtocolViolation, match="checksum"):
        await pulled(offer)
    assert hub.sent_bytes < hub.surplus
    assert offer.done_bytes == 0


async def test_two_pulls_at_once_are_one(hub: FakeHub, client: Hub) -> None:
    hub.gate.clear()
    offer = await look_up(MODEL, client)
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(pulled(offer)) for _ in range(3)]
        await hub.begun.wait()
        hub.gate.set()
    assert {task.result()[-1] for task in pulls} == {Progress(len(DATA), len(DATA))}
    assert hub.sent_bytes == len(DATA)


async def test_full_disk_is_said_before(
    hub: FakeHub, client: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = await look_up(MODEL, client)
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, len(DATA) - 1))
    with pytest.raises(TooLarge, match=r"1\.0 MB are needed .*HF_HUB_CACHE"):
        await pulled(offer)
    assert hub.sent_bytes == 0


async def test_place_that_is_none_is_said(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    offer = await look_up(MODEL, Hub(hub.url, cache=tmp_path / "file"))
    with pytest.raises(TooLarge, match="HF_HUB_CACHE"):
        await pulled(offer)


@pytest.mark.parametrize("model", ["org/none", "org/tiny:none.gguf"])
async def test_missing_model_says_to_check(client: Hub, model: str) -> None:
    with pytest.raises(ModelMissing, match=rf"has no {model}.* Check the name"):
        await look_up(model, client)


@pytest.mark.parametrize("status", [401, 403])
async def test_gated_model_says_how_to_get_it(hub: FakeHub, client: Hub, status: int) -> None:
    hub.repo.refused = (status, "GatedRepo")
    with pytest.raises(
        CredentialsRefused, match=r"accept its licence .*/org/tiny, and set HF_TOKEN"
    ):
        await look_up(MODEL, client)


async def test_token_goes_to_the_hub_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.repo.refused, hub.repo.token = (401, "GatedRepo"), "hf_secret"
    offer = await look_up(MODEL, Hub(hub.url, "hf_secret", tmp_path))
    await pulled(offer)
    assert set(hub.tokens) == {"Bearer hf_secret"}
    assert hub.content_tokens == [None]
    assert "hf_secret" not in repr(offer)


async def test_saved_token_goes_nowhere(
    hub: FakeHub, client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "token"
    saved.write_text("hf_saved")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(saved))
    await pulled(await look_up(MODEL, client))
    assert set(hub.tokens) == {None}


async def test_no_network_is_said_at_once(tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{find_free_port()}"
    with pytest.raises(Unreachable, match=f"reached at {gone}. Check the network.*LOCAL_MODEL"):
        await look_up(MODEL, Hub(gone, cache=tmp_path))


async def test_password_of_the_hub_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be reached at http://127") as caught:
        await look_up(MODEL, Hub("http://me:hunter2@127.0.0.1:1", cache=tmp_path))
    assert "hunter2" not in caught.value.message


async def test_several_files_are_to_be_named(hub: FakeHub, client: Hub) -> None:
    hub.repo.files = {"mmproj-q8_0.gguf": b"1", "a-q2_k.gguf": b"2", "a-q3_k.gguf": b"3"}
    with pytest.raises(ModelMissing, match=r"It has: a-q2_k\.gguf, a-q3_k\.gguf"):
        await look_up("org/tiny", client)
    hub.repo.files = {**hub.repo.files, "a-Q4_K_M.gguf": b"4", "a-q8_0.gguf": b"8"}
    assert (await look_up("org/tiny", client)).reference.file == "a-Q4_K_M.gguf"


async def test_repository_without_a_gguf_says_so(hub: FakeHub, client: Hub) -> None:
    hub.repo.files = {"model.safetensors": b"1", "mmproj.gguf": b"2"}
    with pytest.raises(ModelMissing, match="has no GGUF file in org/tiny"):
        await look_up("org/tiny", client)


async def test_kept_files_are_listed_once(client: Hub) -> None:
    assert client.cache is not None
    assert list_kept(client.cache) == []
    assert find_suggested(client.cache) is None
    await pulled(await look_up(MODEL, client))
    (kept,) = list_kept(client.cache)
    assert (str(kept.reference), kept.size_bytes) == (MODEL, len(DATA))
    assert find_suggested(client.cache) == kept.reference


def test_suggested_file_comes_before_others(tmp_path: Path) -> None:
    for repo, file in (("a/b", "x.gguf"), (DEFAULT.reference.repo, DEFAULT.reference.file or "")):
        snapshot = tmp_path / f"models--{repo.replace('/', '--')}" / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / file).write_bytes(b"GGUF")
    assert find_suggested(tmp_path) == DEFAULT.reference


def test_half_a_file_is_not_found(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "x.gguf").symlink_to(tmp_path / "blobs" / "gone")
    assert find_weights("org/tiny:x.gguf", tmp_path) is None
    assert list_kept(tmp_path) == []


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("/models/a.gguf", True),
        ("models/a.gguf", True),
        ("a.gguf", True),
        ("~/a.gguf", True),
        ("C:\\models\\a.gguf", True),
        ("org/a", False),
        ("org/a:b.gguf", False),
        ("org/a.GGUF:sub/b.gguf", False),
    ],
)
def test_path_and_repository_are_told_apart(model: str, path: bool) -> None:
    assert is_path(model) is path
    assert model_name(model) == ("a" if path else model)


@given(st.text(alphabet="ab./:\\~-_ gufg", max_size=30))
def test_reference_never_leaves_its_repository(model: str) -> None:
    reference = read_reference(model)
    if reference is not None:
        assert reference == read_reference(str(reference))
        assert isinstance(reference, Reference)
        parts = f"{reference.repo}/{reference.file or ''}".split("/")
        assert ".." not in parts
        assert not (reference.file or "").startswith("/")
