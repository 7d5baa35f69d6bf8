"""Mount: Chainlit under our app, at ``/``, behind the gate, with our sockets and users."""

from functools import partial
from pathlib import Path

import chainlit.server
from chainlit.auth import get_current_user
from chainlit.config import HeaderLink, config
from chainlit.server import app as chainlit_app
from chainlit.server import sio
from chainlit.user import PersistedUser
from chainlit.utils import mount_chainlit
from fastapi import FastAPI, HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request

from parley.chat.errors import ParleyError
from parley.surfaces.http.failures import add_refusal_handlers
from parley.surfaces.page.assets import asset_route
from parley.surfaces.page.gate import Gate, GateConfig
from parley.surfaces.page.html import in_frame, without_foreign
from parley.surfaces.page.languages import ACCOUNT, language_routes, liked_by
from parley.surfaces.page.packets import TextPacket
from parley.surfaces.page.ratings import rating_routes
from parley.surfaces.page.refusals import refusal_handler
from parley.surfaces.page.sharing import sharing_routes
from parley.surfaces.page.socket import Page, take_over_socket
from parley.surfaces.page.uploads import FILES_LIMIT, UploadConfig, Uploads
from parley.surfaces.texts import texts_of

_HOOKS = Path(__file__).with_name("hooks.py")


def mount_page(app: FastAPI, page: Page, gate: GateConfig, uploads: UploadConfig) -> None:
    """Mount the page; call it once, after every other route: it answers all that is left."""
    chainlit_app.state.page = page
    chainlit_app.state.configure = partial(_configure, page, gate, uploads)
    template = without_foreign(chainlit.server.get_html_template)
    chainlit.server.get_html_template = in_frame(template) if gate.in_frame else template
    chainlit_app.dependency_overrides[get_current_user] = _page_user
    # What the data layer refuses goes through Chainlit's routes.
    add_refusal_handlers(chainlit_app)
    chainlit_app.add_exception_handler(ParleyError, refusal_handler)
    # Before Chainlit's own, of the same paths.
    chainlit_app.router.routes[:0] = [
        asset_route(Path(chainlit.server.build_dir, "assets")),
        *rating_routes(page.data_layer),
        *take_over_socket(page),
        *sharing_routes(page.sharing, page.attachments),
        *language_routes(_page_user),
    ]
    sio.packet_class = TextPacket
    mount_chainlit(app, str(_HOOKS), path="/")
    _pass_directly()
    chainlit_app.add_middleware(Gate, config=gate, uploads=Uploads(uploads))


def _pass_directly() -> None:
    """Take away what Chainlit's mount puts before its app, to refuse the paths of others.

    At ``/`` there are none; and it takes a client that leaves while it is sent a file for an error.
    """
    chainlit_app.user_middleware[:] = [
        middleware
        for middleware in chainlit_app.user_middleware
        if not (isinstance(middleware.cls, type) and issubclass(middleware.cls, BaseHTTPMiddleware))
    ]


def _configure(page: Page, gate: GateConfig, uploads: UploadConfig) -> None:
    """Set what Chainlit's configuration file does not know; hooks.py asks for it when it is read."""
    # Chainlit's own default lets any site read with the visitor's cookies.
    config.project.allow_origins = []
    # Its configuration file knows light and dark only, the page also what the visitor prefers.
    setattr(config.ui, "default_theme", "system")  # noqa: B010 - its type says no, the page yes
    if gate.account_link:
        config.ui.header_links = [
            HeaderLink(
                name=ACCOUNT,
                display_name=ACCOUNT,  # languages.py says it
                icon_url="/public/account.svg",
                url="/account",
                target="_self",
            )
        ]
    _take_uploads(uploads)
    config.features.allow_thread_sharing = page.sharing is not None


def _take_uploads(uploads: UploadConfig) -> None:
    """Have the page say the limit that holds, and keep what waits where files are kept."""
    feature = config.features.spontaneous_file_upload
    if feature:
        feature.max_files = FILES_LIMIT
        feature.max_size_mb = max(1, uploads.limit_bytes // 1_000_000)  # the page's megabytes
    chainlit.config.FILES_DIRECTORY = uploads.directory


async def _page_user(request: Request) -> PersistedUser:
    """Who calls, for Chainlit's HTTP routes; visitors.py found out."""
    page: Page = chainlit_app.state.page
    principal = page.callers.known(request)
    user = await page.data_layer.get_user(principal.owner.identifier) if principal else None
    if principal is None or user is None:
        raise HTTPException(401, "Nobody is known to be calling. Open the page first.")
    user.display_name = principal.name or texts_of(liked_by(request)).guest
    return user
