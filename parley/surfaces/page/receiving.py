"""Receiving: what the page is told of the messages that it sends, which Chainlit's never asks.

A message into a connection that is dead, and not known to be, reaches nobody, nor do an edit and a
change of settings. The page keeps each until it hears that it is here, and sends it again by its
next connection (public/page/).
"""

from collections.abc import Mapping

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession

from parley.chat.requests import too_large
from parley.surfaces.page.reader import assistant_step


async def say_ready(session: WebsocketSession, most_bytes: int) -> None:
    """Say that the thread was shown: what is said again from now on stays below it.

    A message of more than `most_bytes` the page sends without its text, which is too long for a
    frame: the server would close the socket, and nobody would be told why.
    """
    await ChainlitEmitter(session).emit("ready", {"most_bytes": most_bytes})


def check_sent(payload: object, most_bytes: int) -> None:
    """Raise `TooLarge` for a message that the page sent without its text."""
    size = payload.get("bytes") if isinstance(payload, Mapping) else None
    if isinstance(size, int) and size > most_bytes:
        raise too_large("message", size, most_bytes)


async def say_taken(session: WebsocketSession, named: object, *, is_refused: bool = False) -> None:
    """Say that what has this id needs not be sent again; a message that was refused, the user gets back."""
    if isinstance(named, Mapping) and isinstance(id := named.get("id"), str):
        await ChainlitEmitter(session).emit("taken", {"id": id, "is_refused": is_refused})


def is_again(payload: object) -> bool:
    """Whether the page says that it sends this again."""
    return isinstance(payload, Mapping) and payload.get("again") is True


async def show_again(session: WebsocketSession, payload: object, step_id: str, text: str) -> None:
    """Show a message that was sent again, in the thread that took the place of its bubble."""
    if is_again(payload):
        step = assistant_step(step_id, session.thread_id, text)
        step["name"], step["type"] = session.user.identifier if session.user else "", "user_message"
        await ChainlitEmitter(session).send_step(step)
