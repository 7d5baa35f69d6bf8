"""Mount: Chainlit under our app, at ``/``, behind the gate, with our sockets and users."""

from pathlib import Path

import chainlit.server
from chainlit.auth import get_current_user
from chainlit.config import config
from chainlit.server import app as chainlit_app
from chainlit.server import sio
from chainlit.user import PersistedUser
from chainlit.utils import mount_chainlit
from fastapi import FastAPI, HTTPException

from parley.chat.owner import current_owner
from parley.surfaces.failures import add_refusal_handlers
from parley.surfaces.page.gate import Gate, GateConfig
from parley.surfaces.page.html import without_foreign
from parley.surfaces.page.packets import TextPacket
from parley.surfaces.page.socket import Page, take_over_socket

_HOOKS = Path(__file__).with_name("hooks.py")


def mount_page(app: FastAPI, page: Page, gate: GateConfig) -> None:
    """Mount the page; call it once, after every other route: it answers all that is left."""
    chainlit_app.state.page = page
    # Chainlit's own default lets any site read with the visitor's cookies.
    config.project.allow_origins = []
    # Its configuration file knows light and dark only, the page also what the visitor prefers.
    setattr(config.ui, "default_theme", "system")  # noqa: B010 - its type says no, the page yes
    chainlit.server.get_html_template = without_foreign(chainlit.server.get_html_template)
    chainlit_app.dependency_overrides[get_current_user] = _page_user
    # What the data layer refuses goes through Chainlit's routes.
    add_refusal_handlers(chainlit_app)
    take_over_socket(page)
    sio.packet_class = TextPacket
    mount_chainlit(app, str(_HOOKS), path="/")
    chainlit_app.add_middleware(Gate, config=gate)


async def _page_user() -> PersistedUser:
    """Who calls, for Chainlit's HTTP routes; visitors.py found out."""
    owner = current_owner.get()
    page: Page = chainlit_app.state.page
    user = await page.data_layer.get_user(owner.identifier) if owner else None
    if user is None:
        raise HTTPException(401, "Nobody is known to be calling. Open the page first.")
    return user
