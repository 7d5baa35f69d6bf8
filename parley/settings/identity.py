"""Identity, settings: who may call, by the names that Chainlit, Spaces and proxies know."""

import re
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, NoDecode

SECRET: JsonDict = {"secret": True}
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
# Headers that say something else, or that anybody's browser sends.
_NOT_IDENTITY = {"authorization", "cookie", "host", "origin", "user-agent", "x-proxy-secret"}
_ENTRY = re.compile(r"[^\s@]+@[^\s@]+\.?[^\s@]*|@[^\s@]+|group:\S+")
_SECRET_CHARS = 16


def comma_separated(value: object) -> object:
    """Split a setting that lists several things."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def web_url(value: str) -> str:
    """Take a URL of the web, without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    return value.rstrip("/")


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("not the name of a header: letters, digits and hyphens")
    if value.lower() in _NOT_IDENTITY:
        raise ValueError("this header is no proxy's word: name the one that your proxy sets")
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        network = ip_network(value)  # its own error names what does not fit
        if network.prefixlen == 0:
            raise ValueError(f"{value} is everybody: anyone could say who they are")
    return values


def _secrets(values: tuple[str, ...]) -> tuple[str, ...]:
    if any(len(value) < _SECRET_CHARS for value in values):
        raise ValueError(f"each has to have {_SECRET_CHARS} characters or more")
    return values


def _entries(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _ENTRY.fullmatch(value):
            raise ValueError(f"{value} is none of name@example.org, @example.org, group:NAME")
    return values


def _ancestors(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        is_host = re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d+)?", value)
        if value not in {"'self'", "'none'"} and not is_host:
            raise ValueError(f"{value} is none of 'self', 'none', https://host")
    return values


WebUrl = Annotated[str, AfterValidator(web_url)]
_Several = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_separated)]


def _id() -> str | None:
    field: str | None = Field(None, description="Id of Parley at this provider.")
    return field


def _secret() -> str | None:
    field: str | None = Field(None, json_schema_extra=SECRET, description="And its secret there.")
    return field


class IdentityEnvironment(BaseSettings):
    """The part of the environment that says who may call."""

    auth_header_user: Annotated[str, AfterValidator(_header)] | None = Field(
        None,
        description="The header in which a proxy says who calls, such as X-Forwarded-User,"
        " X-Auth-Request-Email or kubeflow-userid (docs/identity.md).",
    )
    auth_header_trusted_proxies: Annotated[_Several, AfterValidator(_networks)] = Field(
        (),
        description="Networks of the proxies, such as 10.0.3.0/24, whose X-Forwarded-For is believed; required with"
        " a header.",
    )
    auth_header_secret: Annotated[_Several, AfterValidator(_secrets)] = Field(
        (),
        json_schema_extra=SECRET,
        description="What the proxy sends besides as X-Proxy-Secret; several while it changes.",
    )
    auth_allowed: Annotated[_Several, AfterValidator(_entries)] = Field(
        (),
        description="Who may come in: name@example.org, @example.org, group:NAME; else everyone"
        " who can sign in. Addresses count only where the provider has verified them.",
    )
    auth_admins: Annotated[_Several, AfterValidator(_entries)] = Field(
        (), description="Who administrates, written in the same way: sees usage and health."
    )
    admin_can_read: bool = Field(
        False,
        description="Administrators may read other people's conversations; each time is in the"
        " audit log.",
    )
    allow_guests: bool | None = Field(
        None,
        description="Anonymous use; by default on in development while no identity is configured,"
        " to be said in production and in a Space.",
    )
    guest_days: int = Field(
        30, ge=1, le=3650, description="Days after which a guest who did nothing is forgotten."
    )
    frame_ancestors: Annotated[_Several, AfterValidator(_ancestors)] = Field(
        (),
        description="Sites that may show Parley in a frame; by default none but itself, and"
        " https://huggingface.co in a Space.",
    )
    image_hosts: Annotated[_Several, AfterValidator(_ancestors)] = Field(
        (),
        description="Hosts from which answers may show pictures, such as https://images.example;"
        " by default none: a picture's address can tell its host what was said.",
    )

    space_host: str | None = Field(None, description="Set by Hugging Face Spaces.")
    oauth_client_id: str | None = Field(None, description="Set by a Space with hf_oauth: true.")
    oauth_client_secret: str | None = Field(None, json_schema_extra=SECRET, description="As above.")
    oauth_scopes: str = Field("openid profile", description="As above.")
    openid_provider_url: WebUrl | None = Field(None, description="As above.")

    oauth_generic_client_id: str | None = _id()
    oauth_generic_client_secret: str | None = _secret()
    oauth_generic_issuer: WebUrl | None = Field(
        None,
        description="Issuer of any OpenID Connect provider: all else is found out from there.",
    )
    oauth_generic_auth_url: WebUrl | None = Field(
        None, description="Without an issuer, these three: a provider of OAuth alone."
    )
    oauth_generic_token_url: WebUrl | None = Field(None, description="As above.")
    oauth_generic_user_info_url: WebUrl | None = Field(None, description="As above.")
    oauth_generic_scopes: str = Field("openid profile email", description="What it is asked for.")
    oauth_generic_user_identifier: str = Field(
        "sub",
        description="Without an issuer: the claim that names a user, and never another one.",
    )
    oauth_generic_name: str = Field("generic", description="Its name in addresses and buttons.")
    oauth_github_client_id: str | None = _id()
    oauth_github_client_secret: str | None = _secret()
    oauth_github_auth_url: WebUrl | None = Field(
        None, description="With the next two: GitHub Enterprise."
    )
    oauth_github_token_url: WebUrl | None = Field(None, description="As above.")
    oauth_github_user_info_url: WebUrl | None = Field(None, description="As above.")
    oauth_google_client_id: str | None = _id()
    oauth_google_client_secret: str | None = _secret()
    oauth_azure_ad_client_id: str | None = _id()
    oauth_azure_ad_client_secret: str | None = _secret()
    oauth_azure_ad_tenant_id: str | None = Field(None, description="The tenant.")
    oauth_azure_ad_enable_single_tenant: bool = Field(
        False, description="Only this tenant's people; else those of every tenant may sign in."
    )
    oauth_azure_ad_hybrid_client_id: str | None = _id()
    oauth_azure_ad_hybrid_client_secret: str | None = _secret()
    oauth_azure_ad_hybrid_tenant_id: str | None = Field(None, description="The tenant.")
    oauth_azure_ad_hybrid_enable_single_tenant: bool = Field(
        False, description="Only this tenant's people."
    )
    oauth_okta_client_id: str | None = _id()
    oauth_okta_client_secret: str | None = _secret()
    oauth_okta_domain: str | None = Field(None, description="Such as example.okta.com.")
    oauth_okta_authorization_server_id: str = Field(
        "default", description="Okta's authorization server; false for that of the organisation."
    )
    oauth_auth0_client_id: str | None = _id()
    oauth_auth0_client_secret: str | None = _secret()
    oauth_auth0_domain: str | None = Field(None, description="Such as example.eu.auth0.com.")
    oauth_descope_client_id: str | None = _id()
    oauth_descope_client_secret: str | None = _secret()
    oauth_cognito_client_id: str | None = _id()
    oauth_cognito_client_secret: str | None = _secret()
    oauth_cognito_domain: str | None = Field(None, description="The domain of the user pool.")
    oauth_gitlab_client_id: str | None = _id()
    oauth_gitlab_client_secret: str | None = _secret()
    oauth_gitlab_domain: str | None = Field(None, description="Such as gitlab.com.")
    oauth_keycloak_client_id: str | None = _id()
    oauth_keycloak_client_secret: str | None = _secret()
    oauth_keycloak_base_url: WebUrl | None = Field(None, description="Where Keycloak is.")
    oauth_keycloak_realm: str | None = Field(None, description="Its realm.")
    oauth_keycloak_name: str = Field("keycloak", description="Its name in addresses and buttons.")
    oauth_sign_out: bool = Field(
        True,
        description="Whoever signs out here signs out at the provider too, where its discovery has"
        " an end_session_endpoint. Register PUBLIC_URL/login there to come back to.",
    )
    oauth_prompt: str = Field("", description="OpenID's prompt, such as login, for all providers.")
