"""A model server that is down, lies, or goes away: a typed error, and what was said is kept."""

from pathlib import Path

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.support import answers, chat, chat_events, client_of, serving, text_of
from tests.fakes.model_server import (
    EVENT_STREAM,
    Reply,
    answer,
    body,
    chunk,
    cut,
    json_reply,
    reset,
    sse,
)
from tests.services import find_free_port

HTML = body(b"<html><title>Sign in</title></html>", "text/html")
FAILS = {
    "an HTML page": (HTML, "provider_rejected"),
    "no JSON": (Reply((b"data: {nonsense\n\n",)), "provider_rejected"),
    "bad UTF-8": (Reply((b'data: {"choices": "\xff"}\n\n',)), "provider_rejected"),
    "another protocol": (json_reply({"generated_text": "hi"}), "provider_rejected"),
    "a failure inside": (json_reply({"error": {"message": "boom"}}, 500), "provider_unavailable"),
    "a refused key": (json_reply({"error": {"message": "key"}}, 401), "provider_rejected"),
    "too many requests": (json_reply({"error": {"message": "slow"}}, 429), "provider_unavailable"),
    "an end without an answer": (Reply((), headers=EVENT_STREAM), "provider_unavailable"),
}
CUTS = {
    "closed": sse(chunk("Half an"), cut),
    "reset": sse(chunk("Half an"), reset),
    "ended": sse(chunk("Half an")),
}


async def test_a_server_that_is_down(tmp_path: Path) -> None:
    nobody = {"OPENAI_BASE_URL": f"http://127.0.0.1:{find_free_port()}/v1", "OPENAI_MODEL": "m"}
    async with serving(tmp_path, nobody) as parley, client_of(parley) as client:
        events = await chat_events(client, "hi")
        text = await chat(client, "hi")
        _ends_with_error(events, "provider_unavailable")
        assert text == next(event["content"] for event in events if event["type"] == "error")
        assert answers(parley) == [("failed", "error", "")] * 2


@pytest.mark.parametrize("what", FAILS)
async def test_a_server_that_lies(
    faked: Faked, faked_client: httpx2.AsyncClient, what: str
) -> None:
    reply, code = FAILS[what]
    faked.will_reply(reply)
    events = await chat_events(faked_client, "hi", session_id="lies")
    _ends_with_error(events, code)
    assert text_of(events) == ""
    assert answers(faked.parley)[-1] == ("failed", "error", "")


@pytest.mark.parametrize("how", CUTS)
async def test_a_server_that_goes_away(
    faked: Faked, faked_client: httpx2.AsyncClient, how: str
) -> None:
    faked.will_reply(CUTS[how])
    events = await chat_events(faked_client, "hi", session_id=how)
    _ends_with_error(events, "provider_unavailable")
    assert text_of(events) == "Half an"
    assert answers(faked.parley)[-1] == ("failed", "error", "Half an")


async def test_the_next_message_is_answered(faked: Faked, faked_client: httpx2.AsyncClient) -> None:
    faked.will_reply(HTML, sse(*answer("All well.")))
    assert "All well." not in await chat(faked_client, "hi", session_id="again")
    assert await chat(faked_client, "hi", session_id="again") == "All well."


async def test_no_error_tells_the_key(tmp_path: Path, faked: Faked) -> None:
    faked.will_reply(json_reply({"error": {"message": "Incorrect API key: sk-hunter2"}}, 401))
    keyed = {
        "OPENAI_BASE_URL": faked.server.base_url,
        "OPENAI_MODEL": "m",
        "OPENAI_API_KEY": "sk-hunter2",
    }
    async with serving(tmp_path, keyed) as parley, client_of(parley) as client:
        _ends_with_error(events := await chat_events(client, "hi"), "provider_rejected")
        assert "hunter2" not in str(events)
        assert "hunter2" not in parley.log_text()


def _ends_with_error(events: list[dict[str, object]], code: str) -> None:
    *_, error, done = events
    assert (error["type"], error["code"]) == ("error", code)
    assert isinstance(error["content"], str)
    assert error["content"].endswith(".")
    assert "Traceback" not in error["content"]
    assert done["type"] == "done"
    assert isinstance(done["content"], dict)
    assert done["content"]["finish_reason"] == "error"
