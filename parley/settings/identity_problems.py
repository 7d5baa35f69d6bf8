"""Identity, problems: what would let the wrong people in, or nobody, said before anyone comes."""

from collections.abc import Iterator

from parley.settings.identity import IdentityEnvironment
from parley.settings.oauth import VENDORS, generic_urls, oauth_providers

Found = tuple[str, str, str]


def has_identity(env: IdentityEnvironment) -> bool:
    """Whether people can prove who they are."""
    return bool(oauth_providers(env)) or env.auth_header_user is not None


def identity_problems(env: IdentityEnvironment, *, production: bool, url: bool) -> Iterator[Found]:
    """Give each problem as the setting, its value, and what to change.

    `url` says that the address that people use is known.
    """
    yield from _header(env)
    yield from _oauth(env)
    yield from _who(env)
    exposed = production or env.space_host is not None
    if exposed and env.allow_guests is None and not has_identity(env):
        yield (
            "ALLOW_GUESTS",
            "",
            (
                "nobody could sign in. Set it to true to let everyone in who finds the address, or"
                " configure OAUTH_… or AUTH_HEADER_USER."
            ),
        )
    if production and oauth_providers(env) and not url:
        yield (
            "PUBLIC_URL",
            "",
            "sign-ins have to come back to one address: set the one that people use.",
        )


def _header(env: IdentityEnvironment) -> Iterator[Found]:
    if env.auth_header_user and not env.auth_header_trusted_proxies:
        yield (
            "AUTH_HEADER_TRUSTED_PROXIES",
            "",
            (
                f"anyone could send {env.auth_header_user} and be anybody. Set the networks of the"
                " proxy, such as 10.0.3.0/24."
            ),
        )
    if env.auth_header_secret and not env.auth_header_user:
        yield (
            "AUTH_HEADER_USER",
            "",
            (
                "AUTH_HEADER_SECRET is set, and no header that it would prove: name it, or remove"
                " the secret."
            ),
        )


def _oauth(env: IdentityEnvironment) -> Iterator[Found]:
    for vendor in VENDORS:
        missing = [name for name in vendor.settings if not getattr(env, name)]
        if missing and len(missing) < len(vendor.settings):
            there = next(n for n in vendor.settings if n not in missing)
            for name in missing:
                yield name.upper(), "", f"{there.upper()} is set and this is not: set both."
    if env.oauth_generic_client_id and env.oauth_generic_client_secret:
        urls = generic_urls(env)
        if not env.oauth_generic_issuer and not all(urls):
            yield (
                "OAUTH_GENERIC_ISSUER",
                "",
                (
                    "set it, or OAUTH_GENERIC_AUTH_URL, OAUTH_GENERIC_TOKEN_URL and"
                    " OAUTH_GENERIC_USER_INFO_URL."
                ),
            )
    space = ("oauth_client_id", "oauth_client_secret", "openid_provider_url")
    missing = [name for name in space if not getattr(env, name)]
    if missing and len(missing) < len(space):
        for name in missing:
            yield (
                name.upper(),
                "",
                "a Space with hf_oauth: true sets it; without it no sign-in works.",
            )
    ids = [provider.id for provider in oauth_providers(env)]
    for name in {name for name in ids if ids.count(name) > 1}:
        yield (
            "OAUTH_GENERIC_NAME",
            name,
            "two providers have this name; give one of them another.",
        )


def _who(env: IdentityEnvironment) -> Iterator[Found]:
    listed = (("AUTH_ALLOWED", env.auth_allowed), ("AUTH_ADMINS", env.auth_admins))
    for name, entries in listed:
        if entries and not has_identity(env):
            yield (
                name,
                ", ".join(entries),
                "nobody can sign in to be one of these: configure OAUTH_… or AUTH_HEADER_USER.",
            )
    if env.auth_allowed and env.allow_guests:
        yield (
            "ALLOW_GUESTS",
            "True",
            "AUTH_ALLOWED says who may come in, and this lets everybody in: remove one of them.",
        )
    if env.admin_can_read and not env.auth_admins:
        yield (
            "ADMIN_CAN_READ",
            "True",
            "there are no administrators: set AUTH_ADMINS, or remove it.",
        )
