"""Sign-in: the page that offers the ways in, the way to a provider and back, and out again."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from parley.auth.principal import Kind
from parley.chat.errors import ParleyError
from parley.observability.audit import audit
from parley.surfaces.account.entrance import Entrance, enter, own_path, redirect, ways_in
from parley.surfaces.account.leaving import have_left, leave, remember
from parley.surfaces.account.visitors import SIGN_IN

_BROWSER = "parley_signing_in"
_BROWSER_LASTS_S = 600


def sign_in_routes(entrance: Entrance) -> APIRouter:
    """Make the routes; they come before the page's own of the same paths."""
    router = APIRouter(include_in_schema=False)

    @router.get(SIGN_IN)
    async def sign_in(request: Request, back_to: str = "/") -> Response:
        principal = entrance.callers.known(request)
        if principal and principal.kind is Kind.USER:
            response = redirect(own_path(back_to))
        else:
            response = ways_in(entrance, request, own_path(back_to))
        have_left(entrance, request, response)
        return response

    @router.get("/auth/config")
    async def offered() -> Response:
        return JSONResponse(_offered(entrance), headers={"cache-control": "no-store"})

    @router.get("/auth/oauth/{provider_id}")
    async def begin(request: Request, provider_id: str, back_to: str = "/") -> Response:
        held = entrance.cookies.read(request.cookies, _BROWSER)
        url = entrance.callback_url(request, provider_id)
        departure = await entrance.oauth.begin(provider_id, url, own_path(back_to), held)
        name = entrance.cookies.host_only(_BROWSER)
        response = redirect(departure.url)
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
            response = await enter(entrance, request, arrival.identity, arrival.back_to)
            if cookie := await remember(entrance, provider_id, arrival.id_token):
                response.headers.append("set-cookie", cookie)
            return response
        except ParleyError as error:
            audit("sign_in_refused", provider=provider_id, code=error.code)
            return ways_in(entrance, request, "/", error)

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        ended = await _sign_out(entrance, request)
        opens = "text/html" in request.headers.get("accept", "")
        response = redirect(SIGN_IN) if opens else JSONResponse({"success": True})
        leave(entrance, request, response)
        # The open pages load anew when they are told. This one must have its answer before, whose
        # cookies lead it to the provider.
        response.background = BackgroundTask(_tell, entrance, ended)
        return _gone(entrance, response)

    return router


def _offered(entrance: Entrance) -> dict[str, object]:
    """Say what the page's own sign-in offers: it shows that where a session has ended."""
    return {
        "requireLogin": True,
        "passwordAuth": False,
        "headerAuth": False,
        "oauthProviders": [config.id for config in entrance.oauth.providers],
        "default_theme": "system",
        "ui": {},
    }


async def _sign_out(entrance: Entrance, request: Request) -> Sequence[str]:
    principal = entrance.callers.known(request)
    if principal is None or not principal.sign_in_id:
        return ()
    ended = await entrance.desk.end_untold(principal.owner.id, principal.sign_in_id)
    audit("signed_out", identifier=principal.owner.identifier)
    return ended


async def _tell(entrance: Entrance, ended: Sequence[str]) -> None:
    entrance.desk.tell(ended)


def _gone(entrance: Entrance, response: Response) -> Response:
    response.headers.append("set-cookie", entrance.desk.goodbye())
    response.headers["cache-control"] = "no-store"
    return response
