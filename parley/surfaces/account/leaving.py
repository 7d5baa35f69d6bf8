"""Leaving: who signs out here signs out at the provider too, where that offers it.

OpenID Connect RP-Initiated Logout 1.0. What the provider wants back, its own id_token, is in a
sealed cookie of the browser that signed in. The page signs out by a request of its script, which
leads nowhere: the next page that the browser opens then leads to the provider.
"""

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from parley.chat.errors import ParleyError
from parley.observability.logs import get_logger
from parley.surfaces.account.entrance import Entrance, redirect
from parley.surfaces.account.html import leaving_page, page_response
from parley.surfaces.account.visitors import LEAVING, LEAVING_PATH, SIGN_IN
from parley.surfaces.texts import texts_asked_by

logger = get_logger(__name__)

_HELD = "parley_provider"
_HELD_S, _LEAVING_S = 30 * 24 * 3600, 120
# Browsers take 4096 bytes of a cookie. Without its token a provider asks before it signs out.
_MOST_CHARS = 3800


async def remember(entrance: Entrance, provider_id: str, id_token: str) -> str | None:
    """Make the cookie by which one can leave again; None where the provider offers no sign-out."""
    if entrance.in_frame or not await entrance.oauth.end_session_url(provider_id):
        return None
    whole = entrance.seals.seal(f"{provider_id} {id_token}")
    value = whole if len(whole) <= _MOST_CHARS else entrance.seals.seal(f"{provider_id} ")
    return entrance.cookies.render(entrance.cookies.host_only(_HELD), value, _HELD_S)


def leave(entrance: Entrance, request: Request, response: Response) -> None:
    """Have the browser sign out at its provider, with the next page that it opens."""
    held = entrance.cookies.read(request.cookies, _HELD)
    if not held or entrance.seals.open(held) is None:
        return
    cookies = entrance.cookies
    response.headers.append("set-cookie", cookies.render(cookies.host_only(_HELD), "", 0))
    response.headers.append("set-cookie", cookies.render(LEAVING, held, _LEAVING_S))


def have_left(entrance: Entrance, request: Request, response: Response) -> None:
    """Lead a browser to its provider no more."""
    if LEAVING in request.cookies:
        response.headers.append("set-cookie", entrance.cookies.render(LEAVING, "", 0))


def leaving_routes(entrance: Entrance) -> APIRouter:
    """Make the route that leads to the provider."""
    router = APIRouter(include_in_schema=False)

    @router.get(LEAVING_PATH)
    async def to_provider(request: Request) -> Response:
        goal, texts = await _goal(entrance, request), texts_asked_by(request)
        # A page, and no redirect: a form of ours may be on its way here, and forms lead to
        # nobody else (form-action).
        response = page_response(leaving_page(goal, texts), texts) if goal else redirect(SIGN_IN)
        # Two pages may be opened at once, of which the second is shown: the one that was signed out
        # in loads anew and goes to the sign-in. So the cookie stays until the browser is back
        # (visitors.py), where it says from where a page is opened.
        if not goal or "sec-fetch-site" not in request.headers:
            have_left(entrance, request, response)
        return response

    return router


async def _goal(entrance: Entrance, request: Request) -> str | None:
    """Give the provider's own address, from its own description; None where there is none."""
    sealed = request.cookies.get(LEAVING, "")
    provider_id, _, id_token = (entrance.seals.open(sealed) or "").partition(" ")
    try:
        url = await entrance.oauth.end_session_url(provider_id) if provider_id else None
    except ParleyError as error:
        logger.warning("No sign-out at the provider", provider=provider_id, code=error.code)
        url = None
    if not url:
        return None
    asked = {"client_id": entrance.oauth.client_id(provider_id)}
    asked["post_logout_redirect_uri"] = entrance.own_url(request, SIGN_IN)
    if id_token:
        asked["id_token_hint"] = id_token
    return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"
