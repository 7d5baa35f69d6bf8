"""Entrance: what signing in and out works with, and how somebody who proved who they are comes in."""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from parley.auth.callers import Callers
from parley.auth.cookies import Cookies
from parley.auth.guests import Guests
from parley.auth.oauth import OAuth
from parley.auth.policy import Policy
from parley.auth.seals import Seals
from parley.auth.sign_ins import Desk, Identity
from parley.chat.errors import Forbidden, ParleyError
from parley.chat.identities import Adopter
from parley.observability.audit import audit
from parley.surfaces.account.html import page_response, sign_in_page
from parley.surfaces.sentences import error_text
from parley.surfaces.texts import texts_asked_by

# Where a sign-in leads that was begun in a frame (framed.py).
FRAMED = "/login/framed"
_NOT_ADMITTED = "{who} may not use this server. Ask whoever runs it (AUTH_ALLOWED)."
_LONGEST_PATH = 2000


@dataclass(frozen=True, slots=True)
class Entrance:
    """What signing in and out works with; `public_url` is None where it is the request's own.

    `in_frame` says that another site shows this one in a frame.
    """

    callers: Callers
    desk: Desk
    oauth: OAuth
    policy: Policy
    guests: Guests
    adopter: Adopter
    cookies: Cookies
    public_url: str | None
    allow_guests: bool
    seals: Seals
    in_frame: bool = False

    def callback_url(self, request: Request, provider_id: str) -> str:
        """Give the address to come back to, as the provider has it registered."""
        return self.own_url(request, f"/auth/oauth/{provider_id}/callback")

    def own_url(self, request: Request, path: str) -> str:
        """Give the address that people use for a path of ours."""
        return f"{self.public_url or str(request.base_url).rstrip('/')}{path}"


def own_path(back_to: str) -> str:
    """Take a path of ours; anything that could lead elsewhere becomes the front page."""
    parts = urlsplit(back_to)
    is_path = back_to.startswith("/") and not back_to.startswith(("//", "/\\"))
    strange = any(ord(char) <= 0x20 or char == "\\" for char in back_to)
    if not is_path or strange or parts.scheme or parts.netloc or len(back_to) > _LONGEST_PATH:
        return "/"
    return back_to


async def enter(entrance: Entrance, request: Request, identity: Identity, back_to: str) -> Response:
    """Sign a browser in, in place of whom it was; raises `Forbidden`."""
    if not entrance.policy.admits(identity.profile):
        who = identity.profile.email or identity.profile.name or "This account"
        audit("sign_in_refused", identifier=identity.identifier, reason="AUTH_ALLOWED")
        raise Forbidden(_NOT_ADMITTED.format(who=who))
    before = entrance.callers.known(request)
    if before and before.sign_in_id:
        await entrance.desk.end(before.owner.id, before.sign_in_id)
    sign_in, cookie = await entrance.desk.begin(identity)
    audit("signed_in", identifier=identity.identifier, provider=identity.provider)
    response = redirect(back_to)
    response.headers.append("set-cookie", cookie)
    if guest := entrance.guests.of_cookies(request.cookies):
        await entrance.adopter.adopt(guest, sign_in.owner)
        response.headers.append("set-cookie", entrance.guests.goodbye())
    return response


def redirect(url: str) -> Response:
    """Lead a browser on; nobody keeps where to."""
    return RedirectResponse(url, 303, {"cache-control": "no-store"})


def ways_in(
    entrance: Entrance, request: Request, back_to: str, error: ParleyError | None = None
) -> Response:
    """Show the ways in, and what went wrong on one of them."""
    # A provider's page refuses to be shown in a frame: from a Space's it opens in a tab.
    in_frame = entrance.in_frame and request.headers.get("sec-fetch-dest") == "iframe"
    goal = f"{FRAMED}?{urlencode({'back_to': back_to})}" if in_frame else back_to
    query = urlencode({"back_to": goal})
    ways = {c.label: f"/auth/oauth/{c.id}?{query}" for c in entrance.oauth.providers}
    texts = texts_asked_by(request)
    shown = sign_in_page(
        ways,
        texts,
        message=error_text(texts, error.message, error.code) if error else "",
        guests_go_to=back_to if entrance.allow_guests else "",
        in_frame=in_frame,
    )
    return page_response(shown, texts, error.status if error else 200)
