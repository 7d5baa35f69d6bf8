"""What would let the wrong people in, or nobody, ends the start, and says what to change."""

from pathlib import Path

import pytest

from parley.settings.build import load_config
from parley.settings.oauth import VENDORS, oauth_providers
from parley.settings.problems import (
    EXIT_CODE,
    ConfigurationError,
    examine_environment,
    read_environment,
)
from tests.server import run_module
from tests.unit.settings.identity_values import IDENTITY_VALUES

GOOD_SECRET = "0123456789abcdef" * 2
PRODUCTION = {"ENVIRONMENT": "production", "PARLEY_SECRET": GOOD_SECRET}
HEADER = {"AUTH_HEADER_USER": "X-Forwarded-User", "AUTH_HEADER_TRUSTED_PROXIES": "10.0.0.0/8"}
GITHUB = {"OAUTH_GITHUB_CLIENT_ID": "i", "OAUTH_GITHUB_CLIENT_SECRET": "s"}
GENERIC = {"OAUTH_GENERIC_CLIENT_ID": "i", "OAUTH_GENERIC_CLIENT_SECRET": "s"}
SPACE = {
    "SPACE_HOST": "me-chat.hf.space",
    "OAUTH_CLIENT_ID": "i",
    "OAUTH_CLIENT_SECRET": "s",
    "OAUTH_SCOPES": "openid profile inference-api",
    "OPENID_PROVIDER_URL": "https://huggingface.co",
}

# Which settings are wrong together, which is named, and a word of what to do.
WRONG: dict[str, tuple[dict[str, str], str, str]] = {
    "a header without proof": (
        {"AUTH_HEADER_USER": "X-Forwarded-User"},
        "AUTH_HEADER_TRUSTED_PROXIES",
        "networks of the proxy",
    ),
    "a header that everybody may send": (
        HEADER | {"AUTH_HEADER_TRUSTED_PROXIES": "0.0.0.0/0"},
        "AUTH_HEADER_TRUSTED_PROXIES",
        "is everybody",
    ),
    "everybody by IPv6": (
        HEADER | {"AUTH_HEADER_TRUSTED_PROXIES": "10.0.0.0/8,::/0"},
        "AUTH_HEADER_TRUSTED_PROXIES",
        "is everybody",
    ),
    "no network": (
        HEADER | {"AUTH_HEADER_TRUSTED_PROXIES": "the proxy"},
        "AUTH_HEADER_TRUSTED_PROXIES",
        "does not appear to be",
    ),
    "a host within its network": (
        HEADER | {"AUTH_HEADER_TRUSTED_PROXIES": "10.0.0.1/8"},
        "AUTH_HEADER_TRUSTED_PROXIES",
        "host bits set",
    ),
    "a short secret of the proxy": (
        HEADER | {"AUTH_HEADER_SECRET": "short"},
        "AUTH_HEADER_SECRET",
        "16 characters",
    ),
    "a secret that proves no header": (
        {"AUTH_HEADER_SECRET": GOOD_SECRET},
        "AUTH_HEADER_USER",
        "name it",
    ),
    "a header that is no identity": (
        HEADER | {"AUTH_HEADER_USER": "Cookie"},
        "AUTH_HEADER_USER",
        "no proxy's word",
    ),
    "a header that is no name": (
        HEADER | {"AUTH_HEADER_USER": "X Forwarded User"},
        "AUTH_HEADER_USER",
        "not the name of a header",
    ),
    "OAuth without its secret": (
        {"OAUTH_GITHUB_CLIENT_ID": "i"},
        "OAUTH_GITHUB_CLIENT_SECRET",
        "set both",
    ),
    "OAuth without its id": (
        {"OAUTH_GOOGLE_CLIENT_SECRET": "s"},
        "OAUTH_GOOGLE_CLIENT_ID",
        "set both",
    ),
    "a tenant that is missing": (
        {"OAUTH_AZURE_AD_CLIENT_ID": "i", "OAUTH_AZURE_AD_CLIENT_SECRET": "s"},
        "OAUTH_AZURE_AD_TENANT_ID",
        "set both",
    ),
    "a generic provider that is nowhere": (GENERIC, "OAUTH_GENERIC_ISSUER", "OAUTH_GENERIC_AUTH"),
    "an issuer that is no address": (
        GENERIC | {"OAUTH_GENERIC_ISSUER": "accounts.example"},
        "OAUTH_GENERIC_ISSUER",
        "not an http",
    ),
    "two providers of one name": (
        GENERIC
        | GITHUB
        | {"OAUTH_GENERIC_ISSUER": "https://op.example", "OAUTH_GENERIC_NAME": "GitHub"},
        "OAUTH_GENERIC_NAME",
        "another",
    ),
    "half of a Space": (
        {"OAUTH_CLIENT_ID": "i", "OAUTH_CLIENT_SECRET": "s"},
        "OPENID_PROVIDER_URL",
        "hf_oauth",
    ),
    "nobody in production": (PRODUCTION, "ALLOW_GUESTS", "nobody could sign in"),
    "nobody in a Space": ({"SPACE_HOST": "a.hf.space"}, "ALLOW_GUESTS", "nobody could sign in"),
    "sign-ins that come back nowhere": (PRODUCTION | GITHUB, "PUBLIC_URL", "come back"),
    "a list for nobody": ({"AUTH_ALLOWED": "@example.org"}, "AUTH_ALLOWED", "nobody can sign in"),
    "administrators who cannot come": (
        {"AUTH_ADMINS": "ann@example.org"},
        "AUTH_ADMINS",
        "nobody can sign in",
    ),
    "a list that is none": (
        GITHUB | {"AUTH_ALLOWED": "example.org"},
        "AUTH_ALLOWED",
        "none of name@example.org",
    ),
    "a list, and guests": (
        GITHUB | {"AUTH_ALLOWED": "@example.org", "ALLOW_GUESTS": "true"},
        "ALLOW_GUESTS",
        "lets everybody in",
    ),
    "readers who are nobody": ({"ADMIN_CAN_READ": "true"}, "ADMIN_CAN_READ", "set AUTH_ADMINS"),
    "any site's cookies": ({"CORS_ALLOW_ORIGINS": "*"}, "CORS_ALLOW_ORIGINS", "name the origins"),
    "any site's frame": ({"FRAME_ANCESTORS": "*"}, "FRAME_ANCESTORS", "none of 'self'"),
    "a policy within a policy": (
        {"IMAGE_HOSTS": "https://a.example; script-src *"},
        "IMAGE_HOSTS",
        "none of",
    ),
    "no secret": (
        {"ENVIRONMENT": "production", "ALLOW_GUESTS": "true"},
        "PARLEY_SECRET",
        "openssl rand",
    ),
    "a short secret": (
        PRODUCTION | {"ALLOW_GUESTS": "true", "PARLEY_SECRET": "a1b2c3"},
        "PARLEY_SECRET",
        "fewer than 32",
    ),
    "a placeholder": (
        PRODUCTION
        | {"ALLOW_GUESTS": "true", "PARLEY_SECRET": "change-me-please-0123456789abcdefg"},
        "PARLEY_SECRET",
        "placeholder",
    ),
    "one letter": (
        PRODUCTION | {"ALLOW_GUESTS": "true", "PARLEY_SECRET": "a" * 64},
        "PARLEY_SECRET",
        "placeholder",
    ),
}
RIGHT: dict[str, dict[str, str]] = {
    "nothing, in development": {},
    "guests, said": PRODUCTION | {"ALLOW_GUESTS": "true"},
    "a proxy": PRODUCTION | HEADER,
    "a provider": PRODUCTION | GITHUB | {"PUBLIC_URL": "https://chat.example"},
    "a Space": SPACE,
    "keys alone": PRODUCTION | {"ALLOW_GUESTS": "false"},
    "a team": GITHUB | {"AUTH_ALLOWED": "@example.org, group:staff", "AUTH_ADMINS": "a@b.example"},
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*IDENTITY_VALUES, "environment", "parley_secret", "public_url"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_what_to_do(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, name, mend = WRONG[case]
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigurationError) as caught:
        read_environment()
    said = {problem.name.split(" ")[0]: str(problem) for problem in caught.value.problems}
    assert mend in said[name]
    assert GOOD_SECRET not in str(caught.value)


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_taken(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in RIGHT[case].items():
        monkeypatch.setenv(key, value)
    read_environment()


@pytest.mark.parametrize("case", ["a header without proof", "nobody in production"])
def test_the_server_does_not_start(case: str, tmp_path: Path) -> None:
    settings, name, _ = WRONG[case]
    done = run_module(tmp_path, "parley", "serve", **settings)
    assert done.returncode == EXIT_CODE
    assert name in done.stderr


def test_guests_are_off_once_people_can_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().server.allow_guests
    for key, value in GITHUB.items():
        monkeypatch.setenv(key, value)
    assert not load_config().server.allow_guests
    monkeypatch.setenv("ALLOW_GUESTS", "true")
    assert load_config().server.allow_guests


def test_a_space_is_configured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SPACE.items():
        monkeypatch.setenv(key, value)
    config = load_config()
    (provider,) = config.identity.providers
    assert (provider.label, provider.issuer) == ("Hugging Face", "https://huggingface.co")
    assert provider.keeps_token
    assert config.server.public_url == "https://me-chat.hf.space"
    assert config.server.frame_ancestors == ("'self'", "https://huggingface.co")
    assert config.providers.hf_by_users


def test_each_of_chainlits_providers_is_known_by_its_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once, each with what it needs."""
    for vendor in VENDORS:
        for name in vendor.settings:
            value = "https://keycloak.example" if name.endswith("base_url") else "x.example"
            monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("OAUTH_GENERIC_ISSUER", "https://op.example")
    environment, problems = examine_environment()
    assert problems == []
    found = {provider.id: provider for provider in oauth_providers(environment)}
    assert set(found) == {
        "generic", "github", "google", "azure-ad", "azure-ad-hybrid", "okta", "auth0",
        "descope", "aws-cognito", "gitlab", "keycloak",
    }  # fmt: skip
    assert found["github"].subject == "id"
    assert found["okta"].issuer == "https://x.example/oauth2/default"
    assert found["keycloak"].issuer == "https://keycloak.example/realms/x.example"
    assert all(provider.issuer.startswith("https://") for provider in found.values())
    assert not any("x.example" in repr(p.client_secret) for p in found.values() if not p.client_id)
