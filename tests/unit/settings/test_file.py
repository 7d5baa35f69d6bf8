"""The file `parley.toml`: what it says is heard, and all that is wrong with it is said at once."""

from pathlib import Path

import pytest

from parley.settings.build import Config, load_config
from parley.settings.environment import Environment, setting_names
from parley.settings.problems import ConfigurationError
from parley.surfaces.starters import Starter
from providers.config import Deadlines, ModelConfig, RetryConfig
from tests.server import run_module

GOOD = """
default_model = "fast"
plugins = ["shout.py"]

[models.fast]
provider = "openai"
model = "gpt-4o-mini"
label = "Fast"
context_window = 128000
fallbacks = ["house", "shout"]

[models.house]
provider = "openai"
base_url = "http://vllm:8000/v1/"
api_key_env = "VLLM_KEY"
model = "meta-llama/Llama-3.1-8B-Instruct"
max_tokens = 500
temperature = 0.2
tools = true
max_concurrent = 4
system_prompt = "You are the house's model."

[[starters]]
label = "Explain a traceback"
message = "Explain this traceback: "
"""
SHOUT = """
from providers import provider

@provider("shout")
async def shout(messages, **options):
    yield messages[-1].text.upper()
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's: not of this machine, not of the checkout's .env."""
    for field in Environment.model_fields:
        for name in setting_names(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("VLLM_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shout.py").write_text(SHOUT)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-1\nVLLM_KEY=v-secret\n")


def load(text: str) -> Config:
    Path("parley.toml").write_text(text)
    return load_config()


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def problem(text: str) -> str:
    (only,) = problems(text)
    return only


def test_everything_in_the_file_is_heard() -> None:
    config = load(GOOD)
    fast, house = config.providers.models
    assert fast.fallbacks == ("house", "shout")
    assert (fast.label, fast.context_window, fast.api_key) == ("Fast", 128000, None)
    assert house == ModelConfig(
        "house",
        "openai",
        "meta-llama/Llama-3.1-8B-Instruct",
        base_url="http://vllm:8000/v1",
        api_key="v-secret",
        api_key_env="VLLM_KEY",
        max_tokens=500,
        temperature=0.2,
        tools=True,
        max_concurrent=4,
        system_prompt="You are the house's model.",
    )
    assert config.providers.file_default == "fast"
    assert list(config.providers.functions) == ["shout"]
    assert config.starters == (Starter("Explain a traceback", "Explain this traceback: "),)


def test_patience_with_providers_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ("CONNECT_SECONDS", "FIRST_EVENT_SECONDS", "IDLE_SECONDS", "TOTAL_SECONDS", "RETRIES")
    for value, name in enumerate((*told, "RETRY_AFTER_SECONDS", "RETRY_SECONDS"), 1):
        monkeypatch.setenv(f"PROVIDER_{name}", str(value))
    config = load_config().providers
    assert config.deadlines == Deadlines(1, 2, 3, 4)
    assert config.retry == RetryConfig(retries=5, retry_after_ceiling_s=6, total_s=7)


def test_no_file_is_no_problem() -> None:
    assert load_config().providers.models == ()


def test_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_CONFIG", "elsewhere.toml")
    with pytest.raises(
        ConfigurationError, match=r"PARLEY_CONFIG=elsewhere\.toml: it cannot be read"
    ):
        load_config()


def test_file_that_is_no_toml_is_said() -> None:
    assert "not valid TOML" in problem("[models")
    assert "line 3" in problem("a = 1\nb = 2\nc = = 3\n").lower()


def test_same_id_twice_is_said() -> None:
    row = '[models.a]\nprovider = "demo"\n'
    assert "not valid TOML" in problem(row + row)


@pytest.mark.parametrize(
    ("line", "name", "said"),
    [
        ('labl = "x"', "models.a.labl", "Did you mean 'label'?"),
        ('api_key = "sk-hunter2"', "models.a.api_key", "Did you mean 'api_key_env'?"),
        ("temperature = 3", "models.a.temperature", "less than or equal to 2"),
        ("context_window = 0", "models.a.context_window", "greater than or equal to 1"),
        ('context_window = "big"', "models.a.context_window", "integer"),
        ('base_url = "ftp://me:hunter2@h"', "models.a.base_url", "not an http:// or https:// URL"),
        ('api_key_env = "sk-hunter2"', "models.a.api_key_env", "never the key itself"),
        ('api_key_env = "NOT_SET"', "models.a.api_key_env", "is not set"),
        ('api_key_env = "GEMINI_API_KEY"', "models.a.api_key_env", "that key is gemini's"),
        ('fallbacks = ["b"]', "models.a.fallbacks", "there is no such model"),
        ('fallbacks = ["a"]', "models.a.fallbacks", "they lead back"),
    ],
)
def test_each_wrong_line_of_a_model_is_named(line: str, name: str, said: str) -> None:
    found = problem(f'[models.a]\nprovider = "openai"\n{line}\n')
    assert found.startswith(f"{name} (parley.toml)=")
    assert said in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[models.a]\nmodel = "m"\n', "models.a.provider (parley.toml)=: it is missing"),
        ('[models.a]\nprovider = "opnai"\n', "Did you mean 'openai'?"),
        ('[models.a]\nprovider = "gemini"\n', "GEMINI_API_KEY is not set"),
        ('[models.a]\nprovider = "tgi"\n', "TGI_BASE_URL is not set"),
        ('[models."a:b"]\nprovider = "demo"\n', "an id is 1 to 128 characters"),
        ('defualt_model = "a"\n', "Did you mean 'default_model'?"),
        ('default_model = "fats"\n[models.fast]\nprovider = "demo"\n', "Did you mean 'fast'?"),
        ('[[starters]]\nlabel = "a"\n', "starters.0.message (parley.toml)=: it is missing"),
        ('[[starters]]\nlable = "a"\nlabel = "a"\nmessage = "b"\n', "Did you mean 'label'?"),
        ('plugins = ["nowhere.py"]\n', "there is no such Python file"),
        ('models = 1\n', "models (parley.toml)=1"),
    ],
)  # fmt: skip
def test_each_wrong_line_of_the_file_is_named(text: str, said: str) -> None:
    assert said in problem(text)


def test_fallbacks_that_lead_back_are_said() -> None:
    rows = [
        f'[models.{name}]\nprovider = "demo"\nfallbacks = ["{other}"]\n'
        for name, other in (("a", "b"), ("b", "c"), ("c", "b"))
    ]
    found = problems("".join(rows))
    assert [text.split(" ")[0] for text in found] == ["models.b.fallbacks", "models.c.fallbacks"]
    assert "'b -> c -> b'" in found[0]


def test_all_problems_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    text = (
        'defualt_model = "a"\nplugins = ["nowhere.py"]\n'
        '[models.a]\nprovider = "opnai"\nlabl = "x"\ntemperature = 9\n'
        '[[starters]]\nlabel = "a"\n'
    )
    names = [text.split(" ")[0].split("=")[0] for text in problems(text)]
    assert sorted(names) == [
        "PORT",
        "defualt_model",
        "models.a.labl",
        "models.a.provider",
        "models.a.temperature",
        "plugins",
        "starters.0.message",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ny = = 2\n", "line 2: invalid syntax"),
        ("x = 1\n\nboom\n", "line 3: NameError: name 'boom' is not defined"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError"),
        ("x = 1\n", "it registers nothing"),
        ('from providers import provider\n@provider("A b")\ndef f(m): ...\n', "line 2: ValueError"),
        ('from providers import provider\n@provider("openai")\ndef f(m): ...\n', "named 'openai' exists"),
        ('from providers import provider\n@provider("shout")\ndef f(m): ...\n', "registered twice"),
    ],
)  # fmt: skip
def test_plugin_that_fails_says_its_line(source: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(source)
    found = problem('plugins = ["shout.py", "bad.py"]\n')
    assert found.startswith("plugins (parley.toml)='bad.py': ")
    assert said in found


def test_keys_stay_out_of_every_repr() -> None:
    assert "v-secret" not in repr(load(GOOD))
    assert "sk-1" not in repr(load(GOOD))


def test_serve_says_all_of_the_file_and_ends(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text('[models.a]\nprovider = "opnai"\nlabl = "x"\n')
    done = run_module(tmp_path, "parley", "serve", PORT="x")
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("PORT=", "'opnai'", "models.a.labl"))
    assert "Traceback" not in done.stderr


PROFILES = """
[models.house]
provider = "demo"

[[profiles]]
label = "Translator"
model = "%s"
temperature = 0.2
[[profiles.starters]]
label = "A menu"
message = "Carte du jour"
"""


def test_profiles_are_read_with_their_starters(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text(PROFILES % "house")
    (profile,) = load_config().profiles
    assert (profile.label, profile.model, profile.temperature) == ("Translator", "house", 0.2)
    assert profile.starters == (Starter("A menu", "Carte du jour"),)


def test_profiles_name_models_that_there_are_and_once(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text(
        (PROFILES % "hous") + '[[profiles]]\nlabel = "Translator"'
    )
    with pytest.raises(ConfigurationError) as caught:
        load_config()
    said = str(caught.value)
    assert "Did you mean 'house'?" in said
    assert "two profiles have this label" in said


@pytest.mark.parametrize(
    ("scopes", "pays"), [("openid profile", False), ("openid inference-api", True)]
)
def test_sign_in_may_stand_for_hugging_faces_key(
    scopes: str, monkeypatch: pytest.MonkeyPatch, *, pays: bool
) -> None:
    space = {
        "OAUTH_CLIENT_ID": "id",
        "OAUTH_CLIENT_SECRET": "secret",
        "OPENID_PROVIDER_URL": "https://huggingface.co",
        "OAUTH_SCOPES": scopes,
    }
    for name, value in space.items():
        monkeypatch.setenv(name, value)
    row = '[models.a]\nprovider = "huggingface"\n'
    if pays:
        assert load(row).providers.hf_by_users
    else:
        assert "HF_TOKEN is not set" in problem(row)
