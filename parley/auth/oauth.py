"""OAuth: signing in at a provider, with PKCE, a state that is taken once and a checked id_token.

authlib speaks the protocol; what is ours is what holds a sign-in together: state, nonce and
verifier belong to one provider and one browser, and are used up when they come back.
"""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]  # has no types
from authlib.integrations.starlette_client.apps import StarletteOAuth2App  # type: ignore[import-untyped]  # as above
from joserfc.errors import JoseError

from parley.auth.api_keys import digest_of
from parley.auth.oauth_config import INFERENCE_SCOPE, OAuthConfig
from parley.auth.seals import Seals
from parley.auth.sign_ins import Identity
from parley.chat.errors import NotFound, ProviderError, Unauthenticated
from parley.chat.identities import Profile, SignIns, SignInState
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_SECRET_CHARS = 43  # of 32 random bytes
_BEGUN_LASTS = timedelta(minutes=10)
_TIMEOUT_S = 10.0
_LEEWAY_S = 60
# An id_token that anybody could make, or that our own client secret signs, proves nothing.
_SIGNED_BY_ISSUER = {
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
}
_AGAIN = "The sign-in did not come back as it was begun. Begin again at the sign-in page."
_AWAY = "The sign-in provider cannot be reached at the moment. Try again in a moment."
_DENIED = "The sign-in was not completed at the provider."


@dataclass(frozen=True, slots=True)
class Departure:
    """Where a browser is sent to sign in, and what it has to bring back in a cookie."""

    url: str
    browser_secret: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who came back, and where they wanted to go."""

    identity: Identity
    back_to: str
    id_token: str = field(default="", repr=False)


class OAuth:
    """Sign-ins at the configured providers."""

    def __init__(self, configs: Sequence[OAuthConfig], states: SignIns, seals: Seals) -> None:
        """Keep what is begun in `states`; tokens are sealed by `seals`."""
        self._providers = {config.id: _Provider(config, seals) for config in configs}
        self._states = states

    @property
    def providers(self) -> Sequence[OAuthConfig]:
        """The providers that may be chosen."""
        return [provider.config for provider in self._providers.values()]

    async def begin(
        self, provider_id: str, redirect_uri: str, back_to: str, held: str = ""
    ) -> Departure:
        """Begin a sign-in; raises `NotFound` for a provider that is not configured.

        `held` is the secret of a browser that has begun another one: both may come back.
        """
        provider = self._provider(provider_id)
        is_fit = len(held) == _SECRET_CHARS
        browser_secret, now = held if is_fit else secrets.token_urlsafe(32), datetime.now(UTC)
        begun = await provider.authorization(redirect_uri)
        state = SignInState(
            provider=provider_id,
            browser_digest=digest_of(browser_secret),
            nonce=begun.get("nonce", ""),
            verifier=begun["code_verifier"],
            back_to=back_to,
            expires_at=now + _BEGUN_LASTS,
        )
        await self._states.keep_state(digest_of(begun["state"]), state, now)
        return Departure(begun["url"], browser_secret)

    async def finish(
        self, provider_id: str, answer: Mapping[str, str], redirect_uri: str, browser_secret: str
    ) -> Arrival:
        """Take what came back, once; raises `Unauthenticated` for whatever does not fit.

        Also for somebody who denied it at the provider.
        """
        provider = self._provider(provider_id)
        state = await self._states.take_state(digest_of(answer.get("state", "")))
        if state is None or state.expires_at <= datetime.now(UTC):
            raise _refused(provider_id, "state unknown, used or too old")
        if state.provider != provider_id:
            raise _refused(provider_id, "state of another provider")
        if not hmac.compare_digest(state.browser_digest, digest_of(browser_secret)):
            raise _refused(provider_id, "state of another browser")
        if answer.get("error") or not answer.get("code"):
            raise _refused(provider_id, "denied at the provider", _DENIED)
        if answer.get("iss", provider.issuer) != provider.issuer:  # RFC 9207
            raise _refused(provider_id, "answer of another issuer")
        identity, id_token = await provider.identity(answer["code"], state, redirect_uri)
        return Arrival(identity, state.back_to, id_token)

    async def end_session_url(self, provider_id: str) -> str | None:
        """Give where one signs out at the provider; None where it does not say.

        Raises `NotFound`, `ProviderError`.
        """
        return await self._provider(provider_id).end_session_url()

    def client_id(self, provider_id: str) -> str:
        """Give the id by which a provider knows this server."""
        return self._provider(provider_id).config.client_id

    def _provider(self, provider_id: str) -> "_Provider":
        provider = self._providers.get(provider_id)
        if provider is None:
            raise NotFound("There is no such way to sign in.")
        return provider


class _Provider:
    def __init__(self, config: OAuthConfig, seals: Seals) -> None:
        self.config = config
        self._seals = seals
        endpoints = config.endpoints
        self._app: Any = StarletteOAuth2App(
            None,
            name=config.id,
            client_id=config.client_id,
            client_secret=config.client_secret,
            authorize_url=endpoints.authorize if endpoints else None,
            access_token_url=endpoints.token if endpoints else None,
            server_metadata_url=None if endpoints else config.discovery_url,
            client_kwargs={
                "scope": config.scopes,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_S,
            },
        )

    @property
    def issuer(self) -> str:
        """Who vouches: as the issuer calls itself, once it was asked."""
        known: str = self._app.server_metadata.get("issuer", self.config.issuer)
        return known

    async def authorization(self, redirect_uri: str) -> Mapping[str, str]:
        more = {"prompt": self.config.prompt} if self.config.prompt else {}
        try:
            await self._described()
            begun: Mapping[str, str] = await self._app.create_authorization_url(
                redirect_uri, **more
            )
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from error
        return begun

    async def end_session_url(self) -> str | None:
        if self.config.endpoints or not self.config.signs_out:
            return None
        try:
            await self._described()
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from error
        url = _text(self._app.server_metadata.get("end_session_endpoint"))
        # No weaker than the issuer itself is reached.
        is_web = url.startswith("https://") or self.config.issuer.startswith("http://")
        return url if is_web and url.startswith(("https://", "http://")) else None

    async def identity(
        self, code: str, state: SignInState, redirect_uri: str
    ) -> tuple[Identity, str]:
        """Exchange the code, and find out whom the provider vouches for, and its id_token."""
        provider_id = self.config.id
        try:
            await self._described()
            token = await self._app.fetch_access_token(
                redirect_uri, code=code, code_verifier=state.verifier
            )
            claims = await self._claims(token, state.nonce)
            subject = claims.get(self.config.subject)
            if not isinstance(subject, str | int) or not str(subject):
                raise _refused(provider_id, f"no {self.config.subject} in what it says")
            profile = await self._profile(token, claims)
        except (OAuthError, JoseError, KeyError, TypeError) as error:
            raise _refused(provider_id, type(error).__name__) from error
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from error
        issuer = str(claims.get("iss") or self.config.issuer)
        identity = Identity(f"{issuer}|{subject}", provider_id, profile, self._sealed(token))
        return identity, str(token.get("id_token") or "")

    async def _described(self) -> None:
        """Read the issuer's description of itself, once, and believe no more of it than is safe."""
        metadata = await self._app.load_server_metadata()
        if self.config.endpoints:
            return
        issuer = metadata.get("issuer", "")
        if "{tenantid}" not in issuer and issuer.rstrip("/") != self.config.issuer.rstrip("/"):
            self._app.server_metadata.clear()
            raise ValueError(f"the issuer calls itself {issuer}")
        said = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [
            name for name in said if name in _SIGNED_BY_ISSUER
        ] or ["RS256"]

    async def _claims(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Check the id_token, and read what else the provider says of its subject."""
        if self.config.endpoints:
            return dict(await self._ask(self.config.endpoints.userinfo, token))
        # Its issuer is checked below: one with many tenants has the tenant's id in its name.
        checked = await self._app.parse_id_token(
            token, nonce, claims_options={"iss": {"essential": True}}, leeway=_LEEWAY_S
        )
        if checked is None:
            raise _refused(self.config.id, "no id_token")
        issuer = self.issuer.replace("{tenantid}", str(checked.get("tid", "")))
        if checked["iss"] != issuer:
            raise _refused(self.config.id, "id_token of another issuer")
        claims = dict(checked)
        if url := self._app.server_metadata.get("userinfo_endpoint"):
            more = await self._ask(url, token)
            if more.get("sub") != claims["sub"]:
                raise _refused(self.config.id, "userinfo of another subject")
            claims = {**more, **claims}
        return claims

    async def _profile(self, token: Mapping[str, Any], claims: Mapping[str, Any]) -> Profile:
        email = _text(claims.get("email")) if _is_verified(claims) else ""
        if self.config.id == "github":
            email = await self._github_email(token)
        names = (claims.get(name) for name in ("name", "preferred_username", "login"))
        groups = claims.get("groups") or claims.get("roles") or ()
        return Profile(
            name=next(filter(None, map(_text, names)), email),
            email=email,
            picture=_https(claims.get("picture") or claims.get("avatar_url")),
            groups=tuple(map(_text, groups)) if isinstance(groups, list) else (),
        )

    async def _github_email(self, token: Mapping[str, Any]) -> str:
        assert self.config.endpoints
        emails = await self._ask(f"{self.config.endpoints.userinfo}/emails", token)
        primary = [e for e in emails if e.get("primary") is True and e.get("verified") is True]
        return _text(primary[0].get("email")) if primary else ""

    async def _ask(self, url: str, token: Mapping[str, Any]) -> Any:
        response = await self._app.get(url, token=token)
        response.raise_for_status()
        return response.json()

    def _sealed(self, token: Mapping[str, Any]) -> str | None:
        granted = str(token.get("scope", self.config.scopes)).split()
        if not self.config.keeps_token or INFERENCE_SCOPE not in granted:
            return None
        return self._seals.seal(token["access_token"])

    def _away(self, error: Exception) -> ProviderError:
        logger.warning(
            "Sign-in provider failed",
            provider=self.config.id,
            error=type(error).__name__,
            reason=str(error) if isinstance(error, ValueError) else "",
        )
        return ProviderError(_AWAY, provider=self.config.id)


def _refused(provider_id: str, reason: str, message: str = _AGAIN) -> Unauthenticated:
    logger.warning("Sign-in refused", provider=provider_id, reason=reason)
    return Unauthenticated(message)


def _is_verified(claims: Mapping[str, Any]) -> bool:
    """Whether the provider itself vouches for the address: Entra ID says so by `xms_edov`."""
    said = (claims.get("email_verified"), claims.get("xms_edov"))
    return any(value is True or value == "true" for value in said)


def _text(value: object) -> str:
    return value[:320] if isinstance(value, str) else ""


def _https(value: object) -> str:
    """Take a picture's address; one without encryption is left out."""
    return value[:2000] if isinstance(value, str) and value.startswith("https://") else ""
