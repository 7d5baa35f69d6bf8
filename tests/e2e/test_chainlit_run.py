"""``chainlit run app.py -w``: the same page and routes, for who develops."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.e2e.inventory import OURS, PAGE
from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import DEMO, chat, client_of, serving
from tests.patience import until
from tests.server import ROOT, ParleyProcess
from tests.services import DidNotStart

PLUGIN = """
from providers import provider

@provider("parrot")
async def parrot(messages, **options):
    yield "{word} " + messages[-1].text
"""
CHECKOUT = ("app.py", "chainlit.md", ".chainlit", "public")


class UnderChainlit(ParleyProcess):
    """What `chainlit run app.py -w -h` serves, in a checkout of its own."""

    command = ("chainlit", "run", "app.py", "-w", "-h")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with what Chainlit looks for beside app.py; the packages are the real ones."""
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "parley.toml").write_text('plugins = ["my_model.py"]\ndefault_model = "parrot"\n')
    (tmp_path / "my_model.py").write_text(PLUGIN.format(word="First"))
    return tmp_path


@pytest.fixture
def under_chainlit(checkout: Path) -> Iterator[UnderChainlit]:
    with UnderChainlit(checkout, DEMO) as parley:
        yield parley


# Never the same: ids, times, counts, seals.
_PASSING = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[\w-]{40,}|\d[\d.:TZ-]*")
_VALUE = re.compile(r'^[a-z_]+[{ ].*|(?<="key_id":")[^"]*', re.MULTILINE)
# Chainlit's command line lets uvicorn name itself; of the others the body has more to tell.
_HEADERS = {"server", "date", "x-request-id", "content-length", "etag", "last-modified"}
_MORE = (
    "/thread/x",
    "/nothing",
    "/api/v1/nothing",
    "/v1/nothing",
    "/api/nothing",
    "/logo?theme=dark",
    "/project/translations?language=de-CH",
    "/project/settings?language=ja",
)
_ID = "11111111-1111-4111-8111-111111111111"
Heard = dict[str, tuple[int, dict[str, str], set[str]]]


async def heard_at(parley: ParleyProcess) -> Heard:
    """What a guest gets at every door: status, headers, and the body's lines, in any order."""
    async with client_of(parley) as client:
        client.headers |= {"cookie": await new_guest(parley), "accept": "text/html,*/*"}
        page = await client.get("/")
        loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
        heard = {path: _told(await client.get(path)) for path in ("/", *loaded, *_MORE)}
        for door, row in {**PAGE, **OURS}.items():
            method, path = door.split(" ")
            if method in {"WEBSOCKET", "MOUNT"}:
                continue
            path = re.sub(r"\{[^}]*\}", _ID, path)
            heard[door] = _told(
                await client.request(method, path, json=row.json, data=row.form or None)
            )
    return heard


def _told(response: httpx2.Response) -> tuple[int, dict[str, str], set[str]]:
    headers = {
        name: _PASSING.sub("#", re.sub(r"=[^;,]*", "=", value, count=1))
        for name, value in response.headers.items()
        if name not in _HEADERS
    }
    lines = _PASSING.sub("#", _VALUE.sub("", response.text)).split("\n")
    return response.status_code, headers, set(lines)


async def test_page_and_routes_are_the_same_and_reload(
    under_chainlit: UnderChainlit, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every door answers as with `parley serve`: routes, refusals, cookies, policies, the page."""
    directory = tmp_path_factory.mktemp("served")
    for name in ("parley.toml", "my_model.py"):
        shutil.copy(checkout / name, directory / name)
    async with serving(directory, DEMO) as served:
        expected = await heard_at(served)
    assert await heard_at(under_chainlit) == expected
    status, headers, lines = expected["/"]
    assert (status, "content-security-policy" in headers) == (200, True)
    assert any("<title>Parley</title>" in line for line in lines)
    async with client_of(under_chainlit) as client:
        assert await chat(client, "hello") == "First hello"
        cookie = await new_guest(under_chainlit)
        async with page_socket(under_chainlit, cookie) as socket:
            await socket.emit("connection_successful")
            await socket.say("over the socket")
            await socket.next("task_end", 2)
            assert "First over the socket" in [s["output"] for s in socket.all("update_message")]
            (checkout / "my_model.py").write_text(PLUGIN.format(word="Second"))
            await socket.next("reload")
        assert await chat(client, "hello") == "Second hello"
        # What the file is not right for it keeps, and says why.
        (checkout / "my_model.py").write_text("this is no Python")
        await until(lambda: "Plug-in is kept as it was" in under_chainlit.log_text())
        assert await chat(client, "hello") == "Second hello"


async def test_a_start_that_fails_ends_the_process(checkout: Path) -> None:
    data = checkout / ".parley"
    data.mkdir()
    with closing(sqlite3.connect(data / "parley.db")) as database:
        database.execute("create table alembic_version (version_num varchar(32) not null)")
        database.execute("insert into alembic_version values ('9999')")
        database.commit()
    with pytest.raises(DidNotStart, match="Parley cannot start"):
        await asyncio.to_thread(UnderChainlit(checkout, DEMO).start)
