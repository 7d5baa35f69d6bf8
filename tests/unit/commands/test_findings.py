"""Findings of the doctor: one that fails or hangs is a finding, and hides no other."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_layer.database import DatabaseConfig
from parley.commands.doctor import look_at_guests
from parley.commands.doctor_providers import look_at_providers
from parley.commands.doctor_stores import look_at_database, look_at_redis
from parley.commands.findings import Finding, as_json, as_lines, exit_code, look_at
from parley.settings.build import load_config
from providers.config import ModelConfig, ProvidersConfig
from tests.services import find_free_port
from tests.unit.fake_server.support import scripted

FINE, POOR, ILL = (Finding("a", state, "x") for state in ("ok", "warn", "bad"))


async def hangs() -> Sequence[Finding]:
    await asyncio.Event().wait()
    return []


async def fails() -> Sequence[Finding]:
    raise KeyError("a secret")


async def test_what_hangs_is_a_finding() -> None:
    (finding,) = await look_at("redis", hangs, 0.01)
    assert finding == Finding("redis", "bad", "did not answer within 0.01 s")


async def test_what_should_not_happen_is_a_finding() -> None:
    (finding,) = await look_at("redis", fails, 1)
    assert finding.state == "bad"
    assert "secret" not in finding.said


def test_only_what_is_bad_fails() -> None:
    assert [exit_code([FINE, POOR]), exit_code([FINE, ILL]), exit_code([])] == [0, 1, 0]
    assert json.loads(as_json([FINE, ILL]))["ok"] is False
    assert as_lines([FINE, POOR]) == "ok    a  x\nwarn  a  x"


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        ({"PUBLIC_URL": "https://chat.example"}, True),
        ({"PUBLIC_URL": "https://chat.example", "ALLOW_GUESTS": "false"}, False),
        ({"PUBLIC_URL": "https://chat.example", "AUTH_HEADER_TRUSTED_PROXIES": "::1"}, False),
        ({"PUBLIC_URL": "http://chat.example"}, False),
        ({"SPACE_HOST": "a-b.hf.space"}, False),
    ],
)
def test_guests_who_all_come_from_a_proxy_are_told_of(
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    is_told: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ({"ALLOW_GUESTS": "true"} | settings).items():
        monkeypatch.setenv(name, value)
    if settings.get("ALLOW_GUESTS") == "false":
        monkeypatch.setenv("AUTH_HEADER_USER", "X-User")
        monkeypatch.setenv("AUTH_HEADER_TRUSTED_PROXIES", "::1")
    findings = look_at_guests(load_config())
    assert [finding.state for finding in findings] == ["warn"] * is_told
    assert all("AUTH_HEADER_TRUSTED_PROXIES" in finding.said for finding in findings)


async def test_model_that_is_not_listed_is_told() -> None:
    async with scripted('model = "there"') as server:
        config = ProvidersConfig(openai_base_url=server.base_url, openai_model="elsewhere")
        default, provider = await look_at_providers(config, ask=False)
    assert default.state == "ok"
    named = "the model's name of openai:elsewhere (OPENAI_MODEL or DEFAULT_MODEL)"
    said = f"it does not list elsewhere, but there. Check {named}."
    assert (provider.state, provider.said) == ("warn", said)


async def test_each_row_is_told_apart_with_what_its_server_said() -> None:
    async with scripted('model = "big"\ndialect = "tgi"') as tgi, scripted('api_key = "k"') as own:
        rows = (
            ModelConfig("house", "tgi", "big", base_url=tgi.root),
            ModelConfig("locked", "openai", "m", base_url=own.base_url),
            ModelConfig("away", "openai", "m", base_url=f"http://127.0.0.1:{find_free_port()}/v1"),
        )
        _, *found = await look_at_providers(ProvidersConfig(models=rows), ask=False)
    told = {finding.name: (finding.state, finding.said) for finding in found}
    assert told["provider tgi (house)"] == ("ok", "reachable; configured: big (1 offered)")
    state, said = told["provider openai (locked)"]
    assert state == "bad"
    assert "Incorrect API key provided" in said
    assert said.endswith("Set models.locked.api_key_env.")
    state, said = told["provider openai (away)"]
    assert state == "bad"
    assert "127.0.0.1:" in said


async def test_model_that_does_not_answer_is_bad() -> None:
    async with scripted('model = "m"\n[[reply]]\nstatus = 400\nerror = "no"') as server:
        config = ProvidersConfig(openai_base_url=server.base_url)
        *_, answer = await look_at_providers(config, ask=True)
    assert (answer.name, answer.state) == ("answer of openai:m", "bad")
    assert "no" in answer.said


async def test_unknown_default_is_bad() -> None:
    config = ProvidersConfig(default_model="nobody:x", detect_local=False)
    (finding,) = await look_at_providers(config, ask=False)
    assert finding.state == "bad"
    assert "DEFAULT_MODEL" in finding.said


async def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database at all, but quite some bytes of it" * 40)
    (finding,) = await look_at_database(DatabaseConfig(f"sqlite+aiosqlite:///{path}"))
    assert finding.state == "bad"
    assert "no SQLite database" in finding.said


async def test_no_redis_is_no_fault() -> None:
    (finding,) = await look_at_redis(None)
    assert finding.state == "ok"
