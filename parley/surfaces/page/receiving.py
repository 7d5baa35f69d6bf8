"""Receiving: what the page is told of the messages that it sends, which Chainlit's never asks.

A message into a connection that is dead, and not known to be, reaches nobody, nor do an edit and a
change of settings. The page keeps each until it hears that it is here, and sends it again by its
next connection (public/page/).
"""

from collections.abc import Mapping, Sequence
from uuid import uuid4

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession

from parley.chat.errors import ParleyError
from parley.chat.requests import too_large
from parley.surfaces.page.reader import assistant_step, show_error


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


def named_in(event: str, said: Sequence[object]) -> object:
    """Give the part of what a page says that has the id which it is kept by."""
    match event, *said:
        case "client_message", {"message": message}, *_:
            return message
        case "edit_message", edit, *_:
            return edit
        case "chat_settings_change", _, sent, *_:
            return sent
        case _:
            return None


async def say_taken(
    session: WebsocketSession, event: str, *said: object, is_refused: bool = False
) -> None:
    """Say that this needs not be sent again; a message that was refused, the user gets back."""
    named = named_in(event, said)
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


async def tell(session: WebsocketSession, error: ParleyError) -> None:
    """Show an error of what was said, in the thread that the session is in."""
    await show_error(session, str(uuid4()), session.thread_id, error.message, error.code)
