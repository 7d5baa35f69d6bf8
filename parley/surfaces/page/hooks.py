"""Hooks: Chainlit's decorators, and nothing else.

`mount_chainlit` runs this file under a name of its own, and ``chainlit run -w`` runs it again when
a file was saved: it holds no state.
"""

import chainlit as cl
from chainlit.data.base import BaseDataLayer
from chainlit.server import app
from chainlit.types import ThreadDict
from chainlit.user import User


@cl.data_layer
def data_layer() -> BaseDataLayer:
    """Hand Chainlit the layer that app.py made."""
    layer: BaseDataLayer = app.state.page.data_layer
    return layer


@cl.set_starters
async def set_starters(_user: User | None, _language: str | None) -> list[cl.Starter]:
    """Offer the starters of parley.toml."""
    return [cl.Starter(label=s.label, message=s.message) for s in app.state.page.starters]


@cl.set_chat_profiles
async def set_chat_profiles(_user: User | None, _language: str | None) -> list[cl.ChatProfile]:
    """Offer the profiles of parley.toml; the first is where a new chat begins."""
    return [
        cl.ChatProfile(
            name=profile.label,
            markdown_description=profile.description,
            starters=[cl.Starter(label=s.label, message=s.message) for s in profile.starters]
            or None,
        )
        for profile in app.state.page.profiles
    ]


@cl.on_chat_resume
async def on_chat_resume(_thread: ThreadDict) -> None:
    """Make threads resumable: without this hook the page does not offer it (see socket.py)."""


@cl.on_shared_thread_view
async def on_shared_thread_view(_thread: ThreadDict, _viewer: User | None) -> bool:
    """Let the page offer sharing where it is switched on; what is shown, sharing.py decides."""
    return False


# Chainlit has read its configuration file anew: what is not in it is set again.
app.state.configure()
