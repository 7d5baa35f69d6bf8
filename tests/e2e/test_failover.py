"""Failover: a model server that fails, and another that answers in its place."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.page_socket import new_guest, page_socket
from tests.e2e.support import answers, chat, chat_events, client_of, select, serving, text_of
from tests.fakes.model_server import (
    ModelServer,
    Reply,
    answer,
    chunk,
    cut,
    delta,
    json_reply,
    model_server,
    sse,
    wait,
)
from tests.server import ParleyProcess

MODELS = """\
default_model = "first"

[models.first]
provider = "openai"
base_url = "{first}"
model = "one"
context_window = 2000
fallbacks = ["second"]

[models.second]
provider = "openai"
base_url = "{second}"
model = "two"
context_window = 100000
"""
REFUSES = json_reply({"error": {"message": "no such key"}}, 401)
BREAKS = sse(chunk("Half an"), cut)
GOOD = sse(*answer("All well."))
RESTARTED = (
    "Half an\n\nThe answer began again. Its final form is in the history of this conversation."
)


@dataclass(frozen=True)
class Two:
    """A Parley whose model has a fallback, and the two servers of the models."""

    parley: ParleyProcess
    client: httpx2.AsyncClient
    servers: tuple[ModelServer, ModelServer]

    def will_reply(self, *first: Reply, second: Reply = GOOD) -> None:
        """Forget what was asked so far; the servers answer like this from now on."""
        for server, replies in zip(self.servers, (first, (second,)), strict=True):
            server.replies[:] = replies
            server.requests.clear()

    @property
    def asked(self) -> list[list[str]]:
        """The models that each server was asked for."""
        return [[request.json["model"] for request in server.requests] for server in self.servers]

    @property
    def attempts(self) -> list[Any]:
        """The attempts of the newest turn, as its row has them."""
        ((attempts,),) = select(
            self.parley, "SELECT attempts FROM turns ORDER BY created_at DESC LIMIT 1"
        )
        return list(json.loads(attempts))


@pytest.fixture(scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    directory = tmp_path_factory.mktemp("two")
    async with (
        model_server() as first,
        model_server() as second,
        _open(directory, first, second) as two,
    ):
        yield two


@asynccontextmanager
async def _open(directory: Path, first: ModelServer, second: ModelServer) -> AsyncIterator[Two]:
    text = MODELS.format(first=first.base_url, second=second.base_url)
    await asyncio.to_thread((directory / "parley.toml").write_text, text)
    async with serving(directory, {}) as parley, client_of(parley) as client:
        yield Two(parley, client, (first, second))


async def test_other_server_answers_unseen(process: Two) -> None:
    process.will_reply(REFUSES)
    assert await chat(process.client, "hi", session_id="unseen") == "All well."
    assert process.asked == [["one"], ["two"]]
    assert [(a["model"], a["reason"], a["outcome"]) for a in process.attempts] == [
        ("one", "", "CredentialsRefused"),
        ("two", "failover after CredentialsRefused", "completed"),
    ]


async def test_text_begins_again_in_events(process: Two) -> None:
    process.will_reply(BREAKS)
    events = await chat_events(process.client, "hi", session_id="events")
    calls = [event["content"] for event in events if event["type"] == "attempt"]
    assert [(c["model"], c["reason"], c["keep"]) for c in calls] == [
        ("one", "", True),
        ("two", "failover after BrokenStream", False),
    ]
    assert text_of(events) == "Half anAll well."
    assert events[-1]["content"]["finish_reason"] == "stop"
    assert answers(process.parley)[-1] == ("completed", "stop", "All well.")


async def test_plain_text_ends_where_it_begins_again(process: Two) -> None:
    gate = asyncio.Event()
    process.will_reply(BREAKS, second=sse(wait(gate), *answer("All well.")))
    said = await chat(process.client, "hi", session_id="plain")
    assert said == RESTARTED
    gate.set()
    again = await chat(process.client, "and now?", session_id="plain")
    assert again == RESTARTED  # the turn before it went on to its end, else this would wait
    assert answers(process.parley)[-2] == ("completed", "stop", "All well.")


async def test_page_empties_its_bubble(process: Two) -> None:
    """And takes back what was thought for it."""
    process.will_reply(sse(delta({"reasoning_content": "Hm."}), chunk("Half an"), cut))
    cookie = await new_guest(process.parley)
    async with page_socket(process.parley, cookie) as page:
        await page.emit("connection_successful")
        await page.say("hi")
        thought = await page.next("update_message")
        assert (thought["type"], thought["output"]) == ("tool", "Hm.")
        assert (await page.next("delete_message"))["id"] == thought["id"]
        assert (await page.next("update_message", 2))["output"] == ""
        assert (await page.next("update_message", 3))["output"] == "All well."
        assert page.errors() == []


async def test_same_server_is_asked_again(process: Two) -> None:
    process.will_reply(json_reply({"error": {"message": "busy"}}, 503), GOOD)
    assert await chat(process.client, "hi", session_id="again") == "All well."
    assert process.asked == [["one", "one"], []]
    assert [(a["reason"], a["outcome"]) for a in process.attempts] == [
        ("", "Overloaded"),
        ("retry after Overloaded", "completed"),
    ]


async def test_larger_model_takes_a_long_message(process: Two) -> None:
    process.will_reply(GOOD)
    long = "word " * 3000
    assert await chat(process.client, long, session_id="long") == "All well."
    assert process.asked == [[], ["two"]]


async def test_all_that_was_tried_is_named(process: Two) -> None:
    process.will_reply(REFUSES, second=REFUSES)
    events = await chat_events(process.client, "hi", session_id="none")
    error = next(event for event in events if event["type"] == "error")
    assert error["code"] == "provider_rejected"
    assert error["content"].endswith("Tried before it: first (CredentialsRefused).")


async def test_same_key_is_answered_by_the_turn_that_moved_on(process: Two) -> None:
    process.will_reply(REFUSES)
    body = {"session_id": "key", "message": "hi"}
    for _ in range(2):
        headers = {"idempotency-key": "k"}
        response = await process.client.post("/chat", json=body, headers=headers)
        assert "All well." in response.text
    assert process.asked == [["one"], ["two"]]
