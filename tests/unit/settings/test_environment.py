"""Settings: every name is heard, what is empty or unknown is not, what is wrong is said at once."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from parley.settings.build import load_config
from parley.settings.docs import TABLE, settings_table
from parley.settings.environment import Environment, setting_names
from parley.settings.problems import ConfigurationError, examine_environment, read_environment
from tests.e2e.inventory import OURS, PAGE
from tests.unit.settings.identity_values import IDENTITY_VALUES

ROOT = Path(__file__).parents[3]
FIELDS = list(Environment.model_fields)
EVERY_NAME = [(field, name) for field in FIELDS for name in setting_names(field)]
SECRET = "0123456789abcdef" * 2
# A value for each setting that is not its default, and what it becomes.
ALLOWANCES: dict[str, tuple[str, object]] = {
    "limit_requests_per_minute": ("7", 7),
    "limit_guest_requests_per_minute": ("7", 7),
    "limit_all_requests_per_minute": ("7", 7),
    "limit_turns_per_minute": ("7", 7),
    "limit_guest_turns_per_minute": ("7", 7),
    "limit_all_turns_per_minute": ("7", 7),
    "limit_guest_running_turns": ("7", 7),
    "limit_all_running_turns": ("7", 7),
    "limit_tokens_per_day": ("7", 7),
    "limit_guest_tokens_per_day": ("7", 7),
    "limit_all_tokens_per_day": ("7", 7),
}
VALUES: dict[str, tuple[str, object]] = {
    **ALLOWANCES,
    **IDENTITY_VALUES,
    "environment": ("production", "production"),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("8001", 8001),
    "public_url": ("https://chat.example/", "https://chat.example"),
    "cors_allow_origins": (
        "https://a.example/, http://B.example:81",
        ("https://a.example", "http://b.example:81"),
    ),
    "api_v1": ("/rest/v1", "/rest/v1"),
    "log_level": ("debug", "DEBUG"),
    "log_format": ("JSON", "json"),
    "database_url": ("postgres://u:p@h/d", "postgres://u:p@h/d"),
    "database_pool_size": ("7", 7),
    "database_timeout_seconds": ("1.5", 1.5),
    "storage_directory": ("/srv/files", Path("/srv/files")),
    "parley_secret": (SECRET, SECRET),
    "parley_secret_previous": ("p", "p"),
    "allow_sharing": ("true", True),
    "openai_api_key": ("sk", "sk"),
    "openai_base_url": ("http://vllm:8000/v1/", "http://vllm:8000/v1"),
    "openai_model": ("m", "m"),
    "tgi_base_url": ("http://tgi:8080", "http://tgi:8080"),
    "tgi_api_key": ("k", "k"),
    "hf_token": ("hf_1", "hf_1"),
    "hf_model": ("org/m", "org/m"),
    "hf_provider": ("together", "together"),
    "gemini_api_key": ("g", "g"),
    "gemini_model": ("gemini-3", "gemini-3"),
    "gemini_temperature": ("0.1", 0.1),
    "local_model": ("/m/a.gguf", "/m/a.gguf"),
    "local_model_offer": ("true", True),
    "parley_config": ("/etc/parley.toml", Path("/etc/parley.toml")),
    "default_model": ("openai:m", "openai:m"),
    "llm_provider": ("openai", "openai"),
    "detect_local_models": ("false", False),
    "max_tokens": ("7", 7),
    "temperature": ("0.5", 0.5),
    "system_prompt": ("Be brief.", "Be brief."),
    "model_titles": ("false", False),
    "provider_connect_seconds": ("1", 1.0),
    "provider_first_event_seconds": ("2", 2.0),
    "provider_idle_seconds": ("3", 3.0),
    "provider_total_seconds": ("4", 4.0),
    "provider_retries": ("0", 0),
    "provider_retry_seconds": ("5", 5.0),
    "provider_retry_after_seconds": ("6", 6.0),
    "provider_max_concurrent": ("7", 7),
    "provider_max_waiting": ("0", 0),
    "tools": ("web_search, my_tool", ("web_search", "my_tool")),
    "searxng_url": ("http://searxng:8080/", "http://searxng:8080"),
    "brave_api_key": ("b", "b"),
    "tavily_api_key": ("t", "t"),
    "tool_robots": ("false", False),
    "tool_ports": ("443, 8443", (443, 8443)),
    "tool_networks": ("10.1.0.0/16", (ip_network("10.1.0.0/16"),)),
    "limit_page_bytes": ("12", 12),
    "max_tool_rounds": ("2", 2),
    "max_history_tokens": ("1", 1),
    "max_history_turns": ("2", 2),
    "max_history_messages": ("3", 3),
    "redis_url": ("rediss://u:p@h/1", "rediss://u:p@h/1"),
    "redis_ttl_seconds": ("60", 60),
    "redis_timeout_seconds": ("2", 2.0),
    "stream_flush_ms": ("0", 0),
    "time_between_chunks": ("0.05", 0.05),
    "sealed_context_seconds": ("60", 60),
    "limit_message_bytes": ("4", 4),
    "limit_image_bytes": ("11", 11),
    "limit_body_bytes": ("5", 5),
    "limit_upload_bytes": ("9", 9),
    "limit_uploads": ("3", 3),
    "limit_kept_bytes": ("99", 99),
    "limit_answer_chars": ("6", 6),
    "limit_provider_event_bytes": ("65536", 65536),
    "limit_running_turns": ("7", 7),
    "limit_queued_turns": ("8", 8),
    "limit_sockets": ("9", 9),
    "limit_sockets_per_user": ("2", 2),
    "limit_guest_sockets": ("3", 3),
}
REQUIRED_BY_OTHERS = {"ALLOW_GUESTS": "true", "PARLEY_SECRET": SECRET}
WRONG = {
    "ENVIRONMENT": "staging",
    "PORT": "70000",
    "PUBLIC_URL": "chat.example",
    "CORS_ALLOW_ORIGINS": "*",
    "LOG_LEVEL": "LOUD",
    "DATABASE_URL": "mysql://root:hunter2@db/x",
    "REDIS_URL": "http://:hunter2@localhost:6379",
    "REDIS_TTL_SECONDS": "0",
    "OPENAI_BASE_URL": "vllm:8000",
    "TEMPERATURE": "hot",
    "MAX_TOKENS": "0",
    "TOOL_PORTS": "0",
    "TOOL_NETWORKS": "10.1.0.0/99",
    "ALLOW_GUESTS": "perhaps",
    "LIMIT_BODY_BYTES": "-1",
    "PROVIDER_IDLE_SECONDS": "0",
    "PROVIDER_RETRIES": "-1",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's: not of this machine, not of the checkout's .env."""
    for _, name in EVERY_NAME:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def problems() -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        read_environment()
    return {problem.name.split(" ")[0]: str(problem) for problem in caught.value.problems}


def test_every_setting_is_tried_here() -> None:
    assert list(VALUES) == FIELDS


@pytest.mark.parametrize(("field", "name"), EVERY_NAME)
def test_every_name_is_heard(field: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = VALUES[field]
    monkeypatch.setenv(name, text)
    environment, _ = examine_environment()  # what one setting asks of others is not looked at
    assert getattr(environment, field) == value


def test_the_api_is_not_where_other_doors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [door.split(" ")[1] for door in (*OURS, *PAGE) if " /api/" not in door]
    names = {path.split("/")[1] for path in paths if "/{full_path" not in path} - {""}
    for name in (*names, "thread", "v1/parley"):
        monkeypatch.setenv("API_V1", f"/{name}")
        assert "something else" in problems().get("API_V1", ""), name


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_value_is_no_value(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whichever name: all are empty at once."""
    unset = read_environment()
    for _, name in EVERY_NAME:
        monkeypatch.setenv(name, empty)
    assert read_environment() == unset


def test_an_empty_name_does_not_hide_its_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    monkeypatch.setenv("OPENAI_API_BASE", "http://vllm:8000/v1")
    assert read_environment().openai_base_url == "http://vllm:8000/v1"


def test_the_first_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINLIT_URL", "https://b.example")
    monkeypatch.setenv("PUBLIC_URL", "https://a.example")
    assert read_environment().public_url == "https://a.example"


def test_a_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "PORT=9001\nHOST=\nLOG_LEVEL=ERROR\nUNKNOWN_NAME=x\nOPENAI_API_KEY=\n"
    )
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    environment = read_environment()
    assert (environment.port, environment.host) == (9001, "127.0.0.1")
    assert (environment.log_level, environment.openai_api_key) == ("DEBUG", None)


def test_unknown_names_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_OM_URL_OF_ANOTHER_APP", "x")
    read_environment()


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_value_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, WRONG[name])
    assert list(problems()) == [name]


def test_all_problems_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPACE_HOST", "me.hf.space")
    assert set(problems()) == set(WRONG)


def test_wrong_values_do_not_hide_wrong_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", "too short")
    monkeypatch.setenv("OPENAI_API_BASE", "nonsense")
    found = problems()
    assert set(found) == {"OPENAI_BASE_URL", "ALLOW_GUESTS", "PARLEY_SECRET"}
    assert "OPENAI_API_BASE" in found["OPENAI_BASE_URL"], "the name that the operator wrote"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("DATABASE_URL", "postgres://root:p@ss:hunter2@db/x"),
        ("DATABASE_URL", "hunter2"),
        ("REDIS_URL", "redis://:hunter2@host:hunter2"),
        ("OPENAI_BASE_URL", "ftp://me:hunter2@host/v1"),
        ("OPENAI_BASE_URL", "me:hunter2@host/v1"),
        ("OPENAI_BASE_URL", "ftp://host/v1?api-version=1&sig=hunter2"),
        ("OPENAI_BASE_URL", "host/v1?sig=hunter2"),
    ],
)
def test_no_problem_tells_a_secret(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert "hunter2" not in problems()[name]


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example,*", "a.example", "https://a.example/path", "ftp://a"]
)
def test_an_origin_is_an_origin(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", origin)
    assert list(problems()) == ["CORS_ALLOW_ORIGINS"]


@pytest.mark.parametrize("exposed", [{"ENVIRONMENT": "production"}, {"SPACE_HOST": "me.hf.space"}])
def test_beyond_development_guests_are_said(
    exposed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_SECRET", SECRET)
    for name, value in exposed.items():
        monkeypatch.setenv(name, value)
    assert list(problems()) == ["ALLOW_GUESTS"]


def test_the_addresss_origin_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "https://Example.org/chat/")
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", "https://friend.example")
    server = load_config().server
    assert server.origins == {"https://example.org", "https://friend.example"}
    assert server.cors_allow_origins == ("https://friend.example",)


@pytest.mark.parametrize(
    ("environment", "form"), [("development", "console"), ("production", "json")]
)
def test_logs_follow_the_environment(
    environment: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in REQUIRED_BY_OTHERS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENVIRONMENT", environment)
    assert load_config().logs.format == form


def test_each_start_is_another_replica() -> None:
    assert load_config().engine.replica_id != load_config().engine.replica_id


def test_the_table_of_settings_is_current() -> None:
    assert (ROOT / TABLE).read_text() == settings_table(), "run python -m parley.settings.docs"


def test_the_example_names_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    named = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE)
    wanted = {setting_names(field)[0] for field in FIELDS} - {"SPACE_HOST"}
    assert sorted(named) == sorted(wanted)


def test_the_examples_values_are_the_defaults() -> None:
    example = dict(
        re.findall(r"^#([A-Z][A-Z0-9_]*)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )
    for field in FIELDS:
        default = Environment.model_fields[field].default
        if default not in {None, (), ""}:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert example[setting_names(field)[0]] == shown, field


def test_the_example_itself_is_a_configuration(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z])", r"\1", example, flags=re.MULTILINE))
    read_environment()
