"""``chainlit run app.py -w``: the same page and routes, for who develops."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import DEMO, chat, client_of
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


async def test_page_and_routes_are_the_same_and_reload(
    under_chainlit: UnderChainlit, checkout: Path
) -> None:
    async with client_of(under_chainlit) as client:
        for path in ("/api/v1/nothing", "/v1/nothing", "/api/nothing"):
            response = await client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        page = await client.get("/", headers={"accept": "text/html"})
        assert "<title>Parley</title>" in page.text
        assert "content-security-policy" in page.headers
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
