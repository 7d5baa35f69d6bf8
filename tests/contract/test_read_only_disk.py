"""A disk that is read-only, as Linux makes one that fails: really mounted so.

In a process with mounts of its own, which needs the right to make them (root has it, or `unshare
-Ur`); where a machine gives it to nobody, what is left to try is a file system that takes nothing.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from data_layer.local_storage import LocalStorage
from data_layer.storage import StorageConfig
from parley.chat.errors import StorageUnavailable
from tests.server import ROOT, bare_environment

SERVE = """
import asyncio, json, subprocess, sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from data_layer.database import DatabaseConfig, open_database
from data_layer.elements import SqlElements
from data_layer.local_storage import LocalStorage
from data_layer.migrate import migrate
from data_layer.storage import StorageConfig
from data_layer.turns import SqlTurnStore
from data_layer.writer import open_writer
from parley.chat.attachments import NewAttachment
from parley.chat.errors import ParleyError
from tests.contract.support import a_turn, an_end, an_owner

rows, files = Path(sys.argv[1], "rows"), Path(sys.argv[1], "files")
owner, thread = an_owner(), str(uuid4())

def mount(directory, *options):
    subprocess.run(["mount", *options, str(directory)], check=True)

@asynccontextmanager
async def served():
    config = DatabaseConfig(url=f"sqlite:///{rows}/parley.db")
    async with open_database(config) as database, open_writer(database) as writer:
        storage = LocalStorage(StorageConfig(files))
        yield database, SqlTurnStore(database, writer), SqlElements(database, writer, storage)

async def tried(working):
    try:
        return await working
    except ParleyError as error:
        return f"{error.code}: {error.message}"

async def content():
    yield b"bytes"

async def attached(elements):
    new = NewAttachment(str(uuid4()), thread, str(uuid4()), "a.txt", "text/plain")
    return (await elements.attach(owner, new, content())).id

async def ended(turns, text):
    await turns.finish((await turns.begin(a_turn(owner, thread, text))).turn, an_end(text))

async def file(elements, id):
    found = await elements.find(owner.id, id)
    return b"".join([piece async for piece in elements.read(found, 0, 9)]).decode()

def texts(connection):
    said = "SELECT output FROM steps ORDER BY arrival, ordinal"
    return list(connection.exec_driver_sql(said).scalars())

async def main():
    for directory in (rows, files):
        directory.mkdir()
        mount(directory, "-t", "tmpfs", "none")
    async with served() as (database, turns, elements):
        await migrate(database)
        await ended(turns, "before")
        kept = await attached(elements)
    mount(rows, "-o", "remount,ro")
    async with served() as (database, turns, elements):
        said = {"begin": await tried(ended(turns, "lost")), "texts": await tried(database.read(texts))}
    mount(rows, "-o", "remount,rw")
    mount(files, "-o", "remount,ro")
    async with served() as (database, turns, elements):
        said["attach"] = await tried(attached(elements))
        said["file"] = await file(elements, kept)
        await ended(turns, "without files")
    mount(files, "-o", "remount,rw")
    async with served() as (database, turns, elements):
        await ended(turns, "after")
        said["file again"] = await file(elements, await attached(elements))
        said["texts again"] = await database.read(texts)
    said["parts"] = [str(path) for path in files.glob(".parts/*")]
    print(json.dumps(said))

asyncio.run(main())
"""


@cache
def own_mounts() -> list[str] | None:
    """Give the command that runs another one with mounts of its own; None where nobody may."""
    for command in (["unshare", "-m"], ["unshare", "-Urm"]):
        tried = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return command
    return None


def test_disk_that_is_read_only_is_said_and_loses_nothing(tmp_path: Path) -> None:
    if (command := own_mounts()) is None:
        pytest.xfail("nobody may mount anything on this machine")
    ran = subprocess.run(
        [*command, sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=ROOT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    # SQLite keeps notes beside the file even for those who only read.
    for what in ("begin", "texts"):
        assert said.pop(what) == "storage_unavailable: The file of the database cannot be opened."
    assert "STORAGE_DIRECTORY" in said.pop("attach")
    texts = [text for said in ("before", "without files", "after") for text in (said, said)]
    assert said == {
        "file": "bytes",
        "file again": "bytes",
        "texts again": texts,
        "parts": [],
    }


INSTALLED = ("app.py", "chainlit.md", ".chainlit/config.toml", "public/page.js")
PACKAGES = ("parley", "providers", "data_layer")
# What is mounted over itself can be made read-only.
SEALED = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3"'
IMPORT = """
import app, json
from pathlib import Path
import chainlit.config as page
page.init_config()
script = Path(page.public_dir, "page.js")
print(json.dumps([str(app.ROOT), script.is_file(), page.config.ui.name, "chat" in page.config.load_translation("de-DE")]))
"""


def test_what_is_installed_read_only_serves(tmp_path: Path) -> None:
    if (command := own_mounts()) is None:
        pytest.xfail("nobody may mount anything on this machine")
    installed, data, scratch = (tmp_path / name for name in ("app", "data", "scratch"))
    for name in INSTALLED:
        (installed / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, installed / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, installed / name)
    data.mkdir()
    scratch.mkdir()
    ran = subprocess.run(
        [*command, "sh", "-c", SEALED, "sh", str(installed), sys.executable, IMPORT],
        cwd=data,
        env=bare_environment(data, {"PYTHONPATH": str(installed), "TMPDIR": str(scratch)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == [str(installed), True, "Parley", True]
    assert not list(scratch.iterdir()), "nothing is left"


async def test_file_system_that_takes_nothing_is_said() -> None:
    storage = LocalStorage(StorageConfig(Path("/sys/parley")))

    async def content() -> AsyncIterator[bytes]:
        yield b"bytes"

    with pytest.raises(StorageUnavailable, match="STORAGE_DIRECTORY"):
        async with storage.put(str(uuid4()), content()):
            pass
