"""The models of a real Parley: from the environment, from parley.toml and its plug-ins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.support import DEMO, chat, client_of, select, serving
from tests.fakes.model_server import answer, hang, json_reply, model_server, raw, sse
from tests.server import run_module
from tests.services import find_free_port

PLUGIN = """
import time
from providers import provider

@provider("shout")
async def shout(messages, **options):
    yield messages[-1].text.upper()

@provider("slow")
def slow(messages, **options):
    for word in messages[-1].text.split():
        time.sleep(0.01)
        yield word + " "
    raise ValueError(messages[-1].text)
"""


def file(url: str, dead_port: int) -> str:
    return f"""
plugins = ["my_model.py"]

[models.house]
provider = "openai"
base_url = "{url}"
api_key_env = "HOUSE_KEY"
model = "llama"
label = "House"
context_window = 9000
tools = true

[models.silent]
provider = "openai"
base_url = "http://127.0.0.1:{dead_port}/v1"
model = "gone"
"""


async def models_of(client: httpx2.AsyncClient) -> dict[str, Mapping[str, Any]]:
    response = await client.get("/api/v1/models")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "private, no-store"
    document = response.json()
    assert set(document) == {"data", "next_cursor"}
    assert document["next_cursor"] is None
    return {model["id"]: model for model in document["data"]}


async def test_demo_says_what_it_is(client: httpx2.AsyncClient) -> None:
    (model,) = (await models_of(client)).values()
    assert model == {
        "id": "demo:echo",
        "label": "Demo (no model)",
        "provider": "demo",
        "model": "echo",
        "context_window": None,
        "abilities": {
            "tools": False,
            "vision": False,
            "reasoning": False,
            "prefill": False,
            "is_model": False,
        },
        "health": {"state": "degraded", "reason": "no model is connected"},
        "default": True,
    }


async def test_model_server_of_the_environment_is_listed(
    faked: Faked, faked_client: httpx2.AsyncClient
) -> None:
    (model,) = (await models_of(faked_client)).values()
    assert (model["id"], model["default"]) == ("openai:fake", True)


async def test_file_gives_models_with_health_and_answers(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(PLUGIN)
    async with model_server(sse(*answer("from the house"))) as server:
        server.routes["GET /v1/models"] = json_reply(
            {"data": [{"id": "llama", "max_model_len": 4096}]}
        )
        (tmp_path / "parley.toml").write_text(file(server.base_url, find_free_port()))
        elsewhere = {"OPENAI_BASE_URL": f"http://127.0.0.1:{find_free_port()}/v1"}
        keys = {"HOUSE_KEY": "h-1", "OPENAI_API_KEY": "sk-standard", "OPENAI_MODEL": "m"}
        environment = DEMO | elsewhere | keys
        async with serving(tmp_path, environment) as parley, client_of(parley) as client:
            models = await models_of(client)
            assert list(models) == ["house", "silent", "shout", "slow", "openai:m"]
            assert await chat(client, "one", model="house") == "from the house"
            assert await chat(client, "two", model="shout") == "TWO"
            assert await chat(client, "three") == "from the house"
            log = parley.log_text()
    house, silent = models["house"], models["silent"]
    assert "Model: house, because it is the first in parley.toml" in log
    assert (house["label"], house["context_window"], house["default"]) == ("House", 4096, True)
    assert (house["abilities"]["tools"], house["health"]["state"]) == (True, "ok")
    assert (silent["health"]["state"], silent["default"]) == ("down", False)
    assert "models.silent.base_url" in silent["health"]["reason"]
    assert {r.headers.get("authorization") for r in server.requests} == {"Bearer h-1"}
    assert select(parley, "SELECT DISTINCT model FROM turns ORDER BY 1") == [("house",), ("shout",)]


async def test_fallback_answers_for_a_server_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(PLUGIN)
    url = f"http://127.0.0.1:{find_free_port()}/v1"
    (tmp_path / "parley.toml").write_text(
        'plugins = ["my_model.py"]\n[models.house]\nprovider = "openai"\nmodel = "m"\n'
        f'base_url = "{url}"\nfallbacks = ["shout"]\n'
    )
    async with serving(tmp_path, DEMO) as parley, client_of(parley) as client:
        assert await chat(client, "one") == "ONE"


async def test_silent_provider_slows_neither_start_nor_list(tmp_path: Path) -> None:
    async with model_server() as server:
        server.routes["GET /v1/models"] = raw(hang)
        rows = "".join(
            f'[models.m{n}]\nprovider = "openai"\nmodel = "m{n}"\n'
            f'base_url = "{server.base_url}"\ntemperature = 0.{n}\n'
            for n in range(3)
        )
        (tmp_path / "parley.toml").write_text(rows)
        async with serving(tmp_path, DEMO) as parley, client_of(parley) as client:
            models = await models_of(client)
    assert {model["health"]["state"] for model in models.values()} <= {"unknown", "down"}


async def test_plug_in_that_fails_is_told_without_the_users_words(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(PLUGIN)
    (tmp_path / "parley.toml").write_text('default_model = "slow"\nplugins = ["my_model.py"]\n')
    async with serving(tmp_path, DEMO) as parley, client_of(parley) as client:
        text = await chat(client, "tell nobody")
        log = parley.log_text()
    assert text.startswith("tell nobody ")
    assert "slow failed: ValueError in my_model.py:14" in text
    assert "ValueError" in log
    assert "tell nobody" not in log


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_plug_in_that_cannot_be_loaded_is_a_problem(tmp_path: Path, command: str) -> None:
    (tmp_path / "my_model.py").write_text("x = 1\nboom\n")
    (tmp_path / "parley.toml").write_text('plugins = ["my_model.py"]\n')
    done = run_module(tmp_path, "parley", command, **DEMO)
    assert done.returncode == 2
    assert "plugins (parley.toml)='my_model.py': line 2: NameError" in done.stderr
    assert "Traceback" not in done.stderr
