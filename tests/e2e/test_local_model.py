"""A Parley that serves a model itself, and the command that fetches one, as their users run them."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.support import answers, chat, chat_events, client_of, serving, text_of
from tests.fakes.hub import PIECE_BYTES, FakeHub, Repo, fake_hub
from tests.patience import until
from tests.server import ParleyProcess, run_module
from tests.services import find_free_port

MODEL = "org/tiny:tiny-q8_0.gguf"


@pytest.fixture(scope="module")
async def local(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> AsyncIterator[ParleyProcess]:
    environment = {"LOCAL_MODEL": str(tiny_model), "TEMPERATURE": "0.5"}
    async with serving(tmp_path_factory.mktemp("local"), environment) as parley:
        yield parley


@pytest.fixture
async def client(local: ParleyProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(local) as client:
        yield client


@pytest.fixture
async def hub(tiny_model: Path) -> AsyncIterator[FakeHub]:
    data = await asyncio.to_thread(tiny_model.read_bytes)
    async with fake_hub(Repo("org/tiny", {"tiny-q8_0.gguf": data})) as hub:
        yield hub


def models_of(parent: int) -> list[int]:
    """The processes of a Parley that have a model."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    return [pid for pid in pids if b"llama_child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_over(pid: int) -> bool:
    """Whether a process has ended; who inherited it may not have noticed yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def parley(directory: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = await asyncio.to_thread(run_module, directory, "parley", *arguments, **more)
    assert "Traceback" not in done.stderr
    return done


async def test_answers_from_a_file(local: ParleyProcess, client: httpx2.AsyncClient) -> None:
    events = await chat_events(client, "What is a thread?")
    (usage,) = (event["content"] for event in events if event["type"] == "usage")
    assert text_of(events).strip()
    assert usage["estimated"] is False
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0
    assert "local:tiny, because LOCAL_MODEL is set" in local.log_text()


async def test_many_threads_at_once(client: httpx2.AsyncClient) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(chat(client, f"Question {n}?", thread_id=f"t{n}")) for n in range(4)
        ]
    assert all(task.result().strip() for task in asked)


async def test_restart_goes_on_with_the_thread(tmp_path: Path, tiny_model: Path) -> None:
    process = ParleyProcess(tmp_path, {"LOCAL_MODEL": str(tiny_model)})
    for _ in range(2):
        await asyncio.to_thread(process.start)
        async with client_of(process) as client:
            assert (await chat(client, "Again?")).strip()
        await asyncio.to_thread(process.stop)
    assert [state for state, _, _ in answers(process)] == ["completed", "completed"]


async def test_killed_parley_takes_the_model_along(tmp_path: Path, tiny_model: Path) -> None:
    async with serving(tmp_path, {"LOCAL_MODEL": str(tiny_model)}) as process:
        async with client_of(process) as client:
            await chat(client, "Hello?")
        (child,) = models_of(process.process.pid)
        process.kill()
        await until(lambda: is_over(child))


async def test_missing_file_is_said_in_the_chat(tmp_path: Path) -> None:
    environment = {"LOCAL_MODEL": str(tmp_path / "gone.gguf")}
    async with serving(tmp_path, environment) as process, client_of(process) as client:
        assert "local has no file gone.gguf on this machine. Check LOCAL_MODEL." in str(
            await chat_events(client, "Hello?")
        )


async def test_pulled_model_is_found_by_itself(hub: FakeHub, tmp_path: Path) -> None:
    done = await parley(tmp_path, "models", "pull", "org/tiny", "--yes", HF_ENDPOINT=hub.url)
    assert done.returncode == 0
    for said in (f"Model:    {MODEL}", "Size:     0.6 MB", "Licence:  apache-2.0", "It is there: "):
        assert said in done.stdout
    assert "100 % of 0.6 MB" in done.stderr
    listed = await parley(tmp_path, "models", "list")
    assert listed.stdout == f"{MODEL}  0.6 MB\n"
    # Whatever model servers this machine has, the file is asked for by its provider.
    async with (
        serving(tmp_path, {"LLM_PROVIDER": "local"}) as process,
        client_of(process) as client,
    ):
        assert (await chat(client, "Hello?")).strip()
        assert f"local:{MODEL}" in process.log_text()


async def test_nothing_is_fetched_unasked(hub: FakeHub, tmp_path: Path) -> None:
    done = await parley(tmp_path, "models", "pull", "org/tiny", HF_ENDPOINT=hub.url)
    assert done.returncode == 1
    assert "Fetch it?" in done.stdout
    assert hub.sent_bytes == 0
    assert [path.split("/")[1] for path in hub.asked] == ["api", "org"], "the model, and its file"
    assert "HTTP" not in done.stderr
    listed = await parley(tmp_path, "models", "list")
    assert "Fetch a small one with: parley models pull" in listed.stderr


async def test_second_pull_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut_after, hub.refused_then = PIECE_BYTES + 5, (403, "GatedRepo")
    command = ("models", "pull", MODEL, "--yes")
    broken = await parley(tmp_path, *command, HF_ENDPOINT=hub.url)
    assert broken.returncode == 1
    assert "broke off; it goes on" in broken.stderr, "it tries again by itself"
    assert "accept its licence" in broken.stderr
    hub.repo.refused = None
    done = await parley(tmp_path, *command, HF_ENDPOINT=hub.url)
    assert done.returncode == 0
    hub.assert_resumed(PIECE_BYTES + 5)


async def test_two_commands_at_once_fetch_once(hub: FakeHub, tmp_path: Path) -> None:
    command = ("models", "pull", MODEL, "--yes")
    done = await asyncio.gather(
        *(parley(tmp_path, *command, HF_ENDPOINT=hub.url) for _ in range(2))
    )
    assert [one.returncode for one in done] == [0, 0]
    assert hub.sent_bytes == len(next(iter(hub.repo.files.values())))


async def test_token_of_the_settings_is_used(hub: FakeHub, tmp_path: Path) -> None:
    hub.repo.refused, hub.repo.token = (403, "GatedRepo"), "hf_mine"
    command = ("models", "pull", MODEL, "--yes")
    refused = await parley(tmp_path, *command, HF_ENDPOINT=hub.url)
    assert refused.returncode == 1
    assert f"accept its licence on {hub.url}/org/tiny, and set HF_TOKEN" in refused.stderr
    done = await parley(tmp_path, *command, HF_ENDPOINT=hub.url, HF_TOKEN="hf_mine")
    assert (done.returncode, hub.content_tokens) == (0, [None])


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:{port}"}, "cannot be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
async def test_no_network_is_one_line(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    filled = {name: text.format(port=find_free_port()) for name, text in environment.items()}
    done = await parley(tmp_path, "models", "pull", "--yes", **filled)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
