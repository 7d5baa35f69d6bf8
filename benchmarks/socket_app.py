"""Plain Chainlit: what one writes in an hour, one emit for each token. Run by ``chainlit run``.

The message is the script, as for upstream.py; the tokens are made here: no model server is asked.
"""

import asyncio
import re

import chainlit as cl

from benchmarks.upstream import TOKEN

_SCRIPT = re.compile(r"(flood|paced)-(\d+)(?:-(\d+))?")


@cl.on_message
async def on_message(message: cl.Message) -> None:
    """Stream as many tokens as the message says, as fast as it says."""
    _, count, per_second = _SCRIPT.findall(message.content)[-1]
    loop = asyncio.get_running_loop()
    due = loop.time()
    answer = cl.Message(content="")
    for _ in range(int(count)):
        if per_second:
            due += 1 / int(per_second)
            await asyncio.sleep(due - loop.time())
        await answer.stream_token(TOKEN)
    await answer.send()  # type: ignore[no-untyped-call]  # Chainlit has no type here
