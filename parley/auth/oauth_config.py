"""OAuth, configuration: the providers that Chainlit's users know, as rows.

Most speak OpenID Connect: the issuer's URL says all else. Two do not, or not by an address that
can be known: those have their three endpoints here.
"""

from dataclasses import dataclass, field

OPENID = "openid profile email"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider without discovery is asked."""

    authorize: str
    token: str
    userinfo: str


@dataclass(frozen=True, slots=True)
class OAuthConfig:
    """A provider: with an `issuer` alone by OpenID Connect, else by its `endpoints`.

    `subject` is the claim that names a user for ever; `metadata_url` is for an issuer whose
    discovery document lies elsewhere.
    """

    id: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str = ""
    scopes: str = OPENID
    endpoints: Endpoints | None = None
    metadata_url: str = ""
    subject: str = "sub"
    prompt: str = ""
    # Whoever signs out here signs out there too, where it says how.
    signs_out: bool = True
    # The user's own token may pay for inference at Hugging Face.
    keeps_token: bool = False

    @property
    def discovery_url(self) -> str:
        """Where the issuer describes itself."""
        return self.metadata_url or f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"


GITHUB = Endpoints(
    "https://github.com/login/oauth/authorize",
    "https://github.com/login/oauth/access_token",
    "https://api.github.com/user",
)
# The scope with which Hugging Face lets a token call Inference Providers.
INFERENCE_SCOPE = "inference-api"
