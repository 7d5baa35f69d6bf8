"""OAuth, settings: the providers that the environment names, as rows of `OAuthConfig`."""

from collections.abc import Callable
from dataclasses import dataclass

from parley.auth.oauth_config import (
    GITHUB,
    INFERENCE_SCOPE,
    OPENID,
    Endpoints,
    OAuthConfig,
)
from parley.settings.identity import IdentityEnvironment as Environment

HUGGINGFACE = "huggingface"


@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider's settings: their prefix, what must be set together, and what they mean."""

    prefix: str
    label: str
    needs: tuple[str, ...]
    issuer: Callable[[Environment], str] = lambda _: ""
    endpoints: Callable[[Environment], Endpoints | None] = lambda _: None

    @property
    def settings(self) -> tuple[str, ...]:
        """The fields that must be set together."""
        return tuple(
            f"{self.prefix}_{name}" for name in ("client_id", "client_secret", *self.needs)
        )

    @property
    def id(self) -> str:
        """Its name in addresses: Chainlit's."""
        return self.prefix.removeprefix("oauth_").replace("_", "-")


def _https(host: str | None) -> str:
    """Take a domain as Chainlit's users write it, with or without the scheme."""
    name = (host or "").rstrip("/")
    return name if "://" in name else f"https://{name}"


def _azure(tenant: str | None, *, single: bool) -> str:
    return f"https://login.microsoftonline.com/{tenant if single else 'common'}/v2.0"


def _okta(env: Environment) -> str:
    server, domain = env.oauth_okta_authorization_server_id, _https(env.oauth_okta_domain)
    return domain if server.lower() in {"", "false"} else f"{domain}/oauth2/{server}"


def _github(env: Environment) -> Endpoints:
    return Endpoints(
        env.oauth_github_auth_url or GITHUB.authorize,
        env.oauth_github_token_url or GITHUB.token,
        env.oauth_github_user_info_url or GITHUB.userinfo,
    )


def _cognito(env: Environment) -> Endpoints:
    domain = _https(env.oauth_cognito_domain)
    return Endpoints(
        f"{domain}/oauth2/authorize", f"{domain}/oauth2/token", f"{domain}/oauth2/userInfo"
    )


def _generic(env: Environment) -> Endpoints | None:
    urls = generic_urls(env)
    return Endpoints(*urls) if all(urls) and not env.oauth_generic_issuer else None  # type: ignore[arg-type]  # none is None


def generic_urls(env: Environment) -> tuple[str | None, str | None, str | None]:
    """Give the three addresses of a provider without an issuer."""
    return (
        env.oauth_generic_auth_url,
        env.oauth_generic_token_url,
        env.oauth_generic_user_info_url,
    )


VENDORS = (
    Vendor("oauth_generic", "Generic", (), lambda e: e.oauth_generic_issuer or "", _generic),
    Vendor("oauth_github", "GitHub", (), endpoints=_github),
    Vendor("oauth_google", "Google", (), lambda _: "https://accounts.google.com"),
    Vendor(
        "oauth_azure_ad",
        "Microsoft",
        ("tenant_id",),
        lambda e: _azure(e.oauth_azure_ad_tenant_id, single=e.oauth_azure_ad_enable_single_tenant),
    ),
    Vendor(
        "oauth_azure_ad_hybrid",
        "Microsoft",
        ("tenant_id",),
        lambda e: _azure(
            e.oauth_azure_ad_hybrid_tenant_id, single=e.oauth_azure_ad_hybrid_enable_single_tenant
        ),
    ),
    Vendor("oauth_okta", "Okta", ("domain",), _okta),
    Vendor("oauth_auth0", "Auth0", ("domain",), lambda e: f"{_https(e.oauth_auth0_domain)}/"),
    Vendor(
        "oauth_descope",
        "Descope",
        (),
        lambda e: f"https://api.descope.com/{e.oauth_descope_client_id}",
    ),
    Vendor("oauth_cognito", "Amazon Cognito", ("domain",), endpoints=_cognito),
    Vendor("oauth_gitlab", "GitLab", ("domain",), lambda e: _https(e.oauth_gitlab_domain)),
    Vendor(
        "oauth_keycloak",
        "Keycloak",
        ("base_url", "realm"),
        lambda e: f"{e.oauth_keycloak_base_url}/realms/{e.oauth_keycloak_realm}",
    ),
)
# Chainlit's own word for it.
_IDS = {"oauth_cognito": "aws-cognito"}


def oauth_providers(env: Environment) -> tuple[OAuthConfig, ...]:
    """Make the configured providers, the Space's first."""
    configured = [
        _config(env, vendor)
        for vendor in VENDORS
        if all(getattr(env, name) for name in vendor.settings)
    ]
    return (*_space(env), *configured)


def users_pay(env: Environment) -> bool:
    """Whether people who sign in bring tokens with which Hugging Face lets a model be called."""
    return any(
        provider.keeps_token and INFERENCE_SCOPE in provider.scopes.split()
        for provider in oauth_providers(env)
    )


def _config(env: Environment, vendor: Vendor) -> OAuthConfig:
    provider_id, label = _IDS.get(vendor.prefix, vendor.id), vendor.label
    scopes, subject = OPENID, "sub"
    if vendor.prefix in {"oauth_generic", "oauth_keycloak"}:
        named: str = getattr(env, f"{vendor.prefix}_name")
        provider_id, label = named.lower(), label if named == vendor.id else named
    if vendor.prefix == "oauth_generic":
        scopes = env.oauth_generic_scopes
        subject = "sub" if env.oauth_generic_issuer else env.oauth_generic_user_identifier
    if vendor.prefix == "oauth_github":
        scopes, subject = "read:user user:email", "id"
    endpoints = vendor.endpoints(env)
    return OAuthConfig(
        id=provider_id,
        label=label,
        client_id=getattr(env, f"{vendor.prefix}_client_id"),
        client_secret=getattr(env, f"{vendor.prefix}_client_secret"),
        issuer=vendor.issuer(env) or _host(endpoints),
        scopes=scopes,
        endpoints=endpoints,
        subject=subject,
        prompt=env.oauth_prompt,
        signs_out=env.oauth_sign_out,
    )


def _host(endpoints: Endpoints | None) -> str:
    """Name an issuer that has no name of its own by where it is."""
    return "/".join(endpoints.authorize.split("/")[:3]) if endpoints else ""


def _space(env: Environment) -> tuple[OAuthConfig, ...]:
    if not (env.oauth_client_id and env.oauth_client_secret and env.openid_provider_url):
        return ()
    return (
        OAuthConfig(
            id=HUGGINGFACE,
            label="Hugging Face",
            client_id=env.oauth_client_id,
            client_secret=env.oauth_client_secret,
            issuer=env.openid_provider_url,
            scopes=_with_openid(env.oauth_scopes),
            prompt=env.oauth_prompt,
            keeps_token=True,
        ),
    )


def _with_openid(scopes: str) -> str:
    words = scopes.replace(",", " ").split()
    return " ".join(words if "openid" in words else ["openid", *words])
