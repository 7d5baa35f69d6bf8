"""What the suites of Chainlit's layer share: who calls, and the steps that Chainlit writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import uuid4

from chainlit.step import StepDict
from chainlit.types import ThreadDict

from data_layer.chainlit_layer import ChainlitLayer
from parley.chat.owner import current_owner
from parley.chat.turns import Owner

NOON = "2026-01-02T12:00:00.000000Z"


@contextmanager
def as_owner(owner: Owner) -> Iterator[None]:
    token = current_owner.set(owner)
    try:
        yield
    finally:
        current_owner.reset(token)


def a_step(thread_id: str, output: str = "Good day", **changes: object) -> StepDict:
    """A step as Chainlit's `Step.to_dict` makes it."""
    step: dict[str, Any] = {
        "id": str(uuid4()),
        "threadId": thread_id,
        "parentId": None,
        "name": "tool",
        "type": "tool",
        "streaming": False,
        "metadata": {},
        "tags": None,
        "input": "",
        "isError": False,
        "output": output,
        "createdAt": NOON,
        "start": NOON,
        "end": None,
        "language": None,
        "defaultOpen": False,
        "autoCollapse": False,
        "showInput": "json",
        "generation": None,
    }
    return cast(StepDict, {**step, **changes})


async def opened(layer: ChainlitLayer, thread_id: str) -> ThreadDict:
    thread = await layer.get_thread(thread_id)
    assert thread is not None
    return thread


async def steps_of(layer: ChainlitLayer, thread_id: str) -> list[StepDict]:
    return (await opened(layer, thread_id))["steps"]


async def outputs_of(layer: ChainlitLayer, thread_id: str) -> list[str]:
    return [step["output"] for step in await steps_of(layer, thread_id)]
