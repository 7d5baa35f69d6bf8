"""A Chainlit app that is not Parley, on Parley's data layer: see docs/data-layer.md.

DATABASE_URL says where the threads are kept. The names and passwords are for trying it out.
"""

import os

import chainlit as cl
from chainlit.types import ThreadDict

from data_layer import open_data_layer

PASSWORDS = {"ada": "lovelace", "grace": "hopper"}


@cl.data_layer
def data_layer():
    return open_data_layer(os.environ.get("DATABASE_URL", "sqlite:///./chat.db"))


@cl.password_auth_callback
def sign_in(name: str, password: str) -> cl.User | None:
    return cl.User(identifier=name) if PASSWORDS.get(name) == password else None


@cl.on_chat_resume
async def resume(thread: ThreadDict) -> None:
    """Without it, Chainlit offers no way back into a thread."""


@cl.on_shared_thread_view
async def may_view(thread: ThreadDict, viewer: cl.User | None) -> bool:
    return viewer is not None


@cl.step(type="tool")
async def count_words(text: str) -> str:
    return f"{len(text.split())} words"


@cl.on_message
async def answer(message: cl.Message) -> None:
    counted = await count_words(message.content)
    reply = cl.Message("")
    await reply.send()
    for word in f"You said: {message.content} ({counted})".split(" "):
        await reply.stream_token(f"{word} ")
    await reply.update()
