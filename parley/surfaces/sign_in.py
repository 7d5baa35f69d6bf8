"""Sign-in: the page that offers the ways in, the way to a provider and back, and out again."""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from parley.auth.callers import Callers
from parley.auth.cookies import Cookies
from parley.auth.guests import Guests
from parley.auth.oauth import Arrival, OAuth
from parley.auth.policy import Policy
from parley.auth.principal import Kind
from parley.auth.sign_ins import Desk
from parley.chat.errors import Forbidden, ParleyError
from parley.chat.identities import Adopter
from parley.observability.audit import audit
from parley.surfaces.account_html import page_response, sign_in_page
from parley.surfaces.visitors import SIGN_IN

_BROWSER = "parley_signing_in"
_BROWSER_LASTS_S = 600
_NOT_ADMITTED = "{who} may not use this server. Ask whoever runs it (AUTH_ALLOWED)."
_LONGEST_PATH = 2000


@dataclass(frozen=True, slots=True)
class Entrance:
    """What signing in and out works with; `public_url` is None where it is the request's own."""

    callers: Callers
    desk: Desk
    oauth: OAuth
    policy: Policy
    guests: Guests
    adopter: Adopter
    cookies: Cookies
    public_url: str | None
    allow_guests: bool

    def callback_url(self, request: Request, provider_id: str) -> str:
        """Give the address to come back to, as the provider has it registered."""
        base = self.public_url or str(request.base_url).rstrip("/")
        return f"{base}/auth/oauth/{provider_id}/callback"


def sign_in_routes(entrance: Entrance) -> APIRouter:
    """Make the routes; they come before the page's own of the same paths."""
    router = APIRouter(include_in_schema=False)

    @router.get(SIGN_IN)
    async def sign_in(request: Request, back_to: str = "/") -> Response:
        principal = entrance.callers.known(request)
        if principal and principal.kind is Kind.USER:
            return _redirect(own_path(back_to))
        return _sign_in(entrance, request, own_path(back_to))

    @router.get("/auth/config")
    async def offered() -> Response:
        """Tell the page what its own sign-in offers: it shows that where a session has ended."""
        return JSONResponse(
            {
                "requireLogin": True,
                "passwordAuth": False,
                "headerAuth": False,
                "oauthProviders": [config.id for config in entrance.oauth.providers],
                "default_theme": "system",
                "ui": {},
            },
            headers={"cache-control": "no-store"},
        )

    @router.get("/auth/oauth/{provider_id}")
    async def begin(request: Request, provider_id: str, back_to: str = "/") -> Response:
        held = entrance.cookies.read(request.cookies, _BROWSER)
        url = entrance.callback_url(request, provider_id)
        departure = await entrance.oauth.begin(provider_id, url, own_path(back_to), held)
        name = entrance.cookies.host_only(_BROWSER)
        response = _redirect(departure.url)
        cookie = entrance.cookies.render(name, departure.browser_secret, _BROWSER_LASTS_S)
        response.headers.append("set-cookie", cookie)
        return response

    @router.get("/auth/oauth/{provider_id}/callback")
    async def callback(request: Request, provider_id: str) -> Response:
        url = entrance.callback_url(request, provider_id)
        held = entrance.cookies.read(request.cookies, _BROWSER)
        try:
            answer = dict(request.query_params)
            arrival = await entrance.oauth.finish(provider_id, answer, url, held)
            return await _arrived(entrance, request, arrival)
        except ParleyError as error:
            audit("sign_in_refused", provider=provider_id, code=error.code)
            return _sign_in(entrance, request, "/", error)

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        await _sign_out(entrance, request)
        if "text/html" in request.headers.get("accept", ""):
            return _gone(entrance, _redirect(SIGN_IN))
        return _gone(entrance, JSONResponse({"success": True}))

    return router


def own_path(back_to: str) -> str:
    """Take a path of ours; anything that could lead elsewhere becomes the front page."""
    parts = urlsplit(back_to)
    is_path = back_to.startswith("/") and not back_to.startswith(("//", "/\\"))
    strange = any(ord(char) <= 0x20 or char == "\\" for char in back_to)
    if not is_path or strange or parts.scheme or parts.netloc or len(back_to) > _LONGEST_PATH:
        return "/"
    return back_to


async def _arrived(entrance: Entrance, request: Request, arrival: Arrival) -> Response:
    identity = arrival.identity
    if not entrance.policy.admits(identity.profile):
        who = identity.profile.email or identity.profile.name or "This account"
        audit("sign_in_refused", identifier=identity.identifier, reason="AUTH_ALLOWED")
        raise Forbidden(_NOT_ADMITTED.format(who=who))
    before = entrance.callers.known(request)
    if before and before.sign_in_id:
        await entrance.desk.end(before.owner.id, before.sign_in_id)
    sign_in, cookie = await entrance.desk.begin(identity)
    audit("signed_in", identifier=identity.identifier, provider=identity.provider)
    response = _redirect(arrival.back_to)
    response.headers.append("set-cookie", cookie)
    if guest := entrance.guests.of_cookies(request.cookies):
        await entrance.adopter.adopt(guest, sign_in.owner)
        response.headers.append("set-cookie", entrance.guests.goodbye())
    return response


async def _sign_out(entrance: Entrance, request: Request) -> None:
    principal = entrance.callers.known(request)
    if principal and principal.sign_in_id:
        await entrance.desk.end(principal.owner.id, principal.sign_in_id)
        audit("signed_out", identifier=principal.owner.identifier)


def _gone(entrance: Entrance, response: Response) -> Response:
    response.headers.append("set-cookie", entrance.desk.goodbye())
    response.headers["cache-control"] = "no-store"
    return response


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, {"cache-control": "no-store"})


def _sign_in(
    entrance: Entrance, request: Request, back_to: str, error: ParleyError | None = None
) -> Response:
    ways = {
        config.label: f"/auth/oauth/{config.id}?{urlencode({'back_to': back_to})}"
        for config in entrance.oauth.providers
    }
    # A provider's page refuses to be shown in a frame: from a Space's it opens in a tab.
    in_frame = request.headers.get("sec-fetch-dest") == "iframe"
    shown = sign_in_page(
        ways,
        message=error.message if error else "",
        guests_go_to=back_to if entrance.allow_guests else "",
        in_frame=in_frame,
    )
    return page_response(shown, error.status if error else 200)
