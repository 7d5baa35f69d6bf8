"""Receiving: what the page is told of the messages that it sends, which Chainlit's never asks.

A message into a connection that is dead, and not known to be, reaches nobody. The page keeps each
until it hears that it is here, and sends it again by its next connection (public/page.js).
"""

from collections.abc import Mapping

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession

from parley.surfaces.page.reader import assistant_step


async def say_ready(session: WebsocketSession) -> None:
    """Say that the thread was shown: what is said again from now on stays below it."""
    await ChainlitEmitter(session).emit("ready", {})


async def say_taken(session: WebsocketSession, payload: object, *, is_refused: bool) -> None:
    """Say that a message needs not be sent again; one that was refused, the user gets back."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if isinstance(message, Mapping) and isinstance(message_id := message.get("id"), str):
        taken = {"id": message_id, "is_refused": is_refused}
        await ChainlitEmitter(session).emit("taken", taken)


async def show_again(session: WebsocketSession, payload: object, step_id: str, text: str) -> None:
    """Show a message that was sent again, in the thread that took the place of its bubble."""
    if isinstance(payload, Mapping) and payload.get("again") is True:
        step = assistant_step(step_id, session.thread_id, text)
        step["name"], step["type"] = session.user.identifier if session.user else "", "user_message"
        await ChainlitEmitter(session).send_step(step)
