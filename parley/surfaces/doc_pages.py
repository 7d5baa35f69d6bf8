"""Doc pages: ``/docs``, ``/api/docs``, ``/api/redoc`` and ``/playground``, from this server alone.

They show nothing of anybody: what they ask for, they ask as whoever opened them.
"""

from html import escape
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse

from parley.chat.errors import NotFound
from parley.surfaces.http.inline import digests

_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none';"
    " form-action 'self'"
)
_OWN = Path(__file__).with_name("static")
_PACKAGED = Path(str(files("fastapi_offline"))) / "static"
_ASSETS = {
    "docs.js": _OWN / "docs.js",
    **{
        name: _PACKAGED / name
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "redoc.standalone.js")
    },
}
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<title>Parley API</title><link rel="icon" href="/favicon">{head}</head><body>{body}</body></html>'
)
_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="/docs/assets/swagger-ui.css">',
    body='<div id="docs"></div><script src="/docs/assets/swagger-ui-bundle.js"></script>'
    '<script src="/docs/assets/docs.js"></script>',
)
_REDOC = _PAGE.format(
    head="",
    body='<redoc spec-url="/openapi.json"></redoc>'
    '<script src="/docs/assets/redoc.standalone.js"></script>',
)


def doc_page_routes(prefix: str) -> APIRouter:
    """Make the routes; `prefix` is where the playground finds the REST API."""
    router = APIRouter(include_in_schema=False)
    # All of it in one file: its script and its style are known to the policy by their digests.
    source = (_OWN / "playground.html").read_text(encoding="utf-8")
    playground = source.replace("{{api}}", escape(prefix))
    scripts, styles = (" ".join(digests(source, tag)) for tag in ("script", "style"))

    @router.get("/docs")
    @router.get("/api/docs")
    async def swagger() -> HTMLResponse:
        return _page(_SWAGGER)

    @router.get("/api/redoc")
    async def redoc() -> HTMLResponse:
        return _page(_REDOC)

    @router.get("/playground")
    async def play() -> HTMLResponse:
        return _page(playground, scripts, styles)

    @router.get("/docs/assets/{name}")
    async def asset(name: str) -> FileResponse:
        if name not in _ASSETS:
            raise NotFound(f"There is nothing at /docs/assets/{name}.")
        return FileResponse(_ASSETS[name], headers={"cache-control": "no-cache"})

    return router


def _page(
    html: str, scripts: str = "'self'", styles: str = "'self' 'unsafe-inline'"
) -> HTMLResponse:
    policy = _POLICY.format(scripts=scripts, styles=styles)
    return HTMLResponse(html, headers={"content-security-policy": policy})
