"""A conversation is taken along, read by people, and brought back as it was."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.e2e.conftest import Faked
from tests.e2e.resumable import new_conversation, say
from tests.e2e.support import client_of, row_counts
from tests.fakes.model_server import answer, sse

AT = "/api/v1/conversations"


@pytest.fixture
async def ada(faked: Faked) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(faked.parley) as client:
        await client.get(AT)
        yield client


async def exported(client: httpx2.AsyncClient, id: str) -> dict[str, Any]:
    response = await client.get(f"{AT}/{id}/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    export: dict[str, Any] = response.json()
    return export


async def test_what_is_brought_back_is_what_was_taken(
    faked: Faked, ada: httpx2.AsyncClient
) -> None:
    faked.will_reply(sse(*answer("# It is\n", "Ada.")), sse(*answer("Zwei 😀")))
    id = await new_conversation(ada, metadata={"k": [1, None]})
    await say(ada, id, "My name is Ada.")
    await say(ada, id, "Und?")
    taken = await exported(ada, id)
    assert [turn["message"] for turn in taken["turns"]] == ["My name is Ada.", "Und?"]

    async with client_of(faked.parley) as elsewhere:
        made = await elsewhere.post(f"{AT}/import", json=taken)
        assert made.status_code == 201, made.text
        brought = made.json()
        assert brought["conversation_id"] != id
        assert made.headers["location"].endswith(brought["conversation_id"])
        assert (brought["title"], brought["metadata"]) == ("My name is Ada.", {"k": [1, None]})
        again = await exported(elsewhere, brought["conversation_id"])
        changing = {"exported_at", "created_at"}
        assert {k: v for k, v in again.items() if k not in changing} == {
            k: v for k, v in taken.items() if k not in changing
        }
        faked.will_reply(sse(*answer("Ada.")))
        await say(elsewhere, brought["conversation_id"], "Who am I?")
    seen = [m["content"] for m in faked.server.requests[-1].json["messages"]]
    assert seen[-5:] == ["My name is Ada.", "# It is\nAda.", "Und?", "Zwei 😀", "Who am I?"]


async def test_as_markdown_for_people(faked: Faked, ada: httpx2.AsyncClient) -> None:
    faked.will_reply(sse(*answer("**Bold** ", "words.")))
    id = await new_conversation(ada, title='Über/uns: "alles"\n')
    await say(ada, id, "Say it")
    response = await ada.get(f"{AT}/{id}/export", params={"format": "markdown"})
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="ber-uns-alles.md"'
    assert response.text.startswith('# Über/uns: "alles"\n')
    assert "\n\nSay it\n\n## openai:fake\n\n**Bold** words.\n" in response.text


async def test_of_others_there_is_none(faked: Faked, ada: httpx2.AsyncClient) -> None:
    id = await new_conversation(ada)
    async with client_of(faked.parley) as eve:
        assert (await eve.get(f"{AT}/{id}/export")).status_code == 404
    assert (await ada.get(f"{AT}/{id}/export", params={"format": "pdf"})).status_code == 422
    assert (await ada.get(f"{AT}/x/export")).status_code == 404


BASE: dict[str, Any] = {
    "version": 1,
    "exported_at": "2026-01-01T00:00:00Z",
    "title": "t",
    "created_at": "2026-01-01T00:00:00Z",
    "metadata": {},
    "turns": [],
}
ANSWER: dict[str, Any] = {
    "state": "completed",
    "text": "a",
    "reasoning": "",
    "finish_reason": "stop",
    "usage": None,
    "tools": [],
    "attempts": [],
    "error": None,
    "time_to_first_chunk_ms": None,
    "duration_ms": 3,
    "ended_at": None,
}
TURN: dict[str, Any] = {
    "message": "m",
    "model": "x:y",
    "created_at": "2026-01-01T00:00:00Z",
    "extras": {},
    "answer": ANSWER,
}


def with_turn(**changes: Any) -> dict[str, Any]:
    return BASE | {"turns": [TURN | changes]}


def with_answer(**changes: Any) -> dict[str, Any]:
    return with_turn(answer=ANSWER | changes)


BAD = {
    "nothing": {},
    "a list": [],
    "another version": BASE | {"version": 2},
    "an unknown field": BASE | {"colour": "red"},
    "a time without a zone": BASE | {"created_at": "2026-01-01T00:00:00"},
    "a turn of nothing": BASE | {"turns": [{}]},
    "an unknown state": with_answer(state="dancing"),
    "a duration that no column takes": with_answer(duration_ms=2**31),
    "a negative duration": with_answer(duration_ms=-1),
    "a model of a thousand letters": with_turn(model="x" * 1000),
    "an image that is none": with_turn(
        extras={"images": [{"media_type": "image/png", "data": "aGk="}]}
    ),
    "metadata that is nested": BASE | {"metadata": json.loads('{"a":' * 150 + "1" + "}" * 150)},
}


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_no_export_writes_nothing(
    faked: Faked, ada: httpx2.AsyncClient, bad: str
) -> None:
    before = row_counts(faked.parley)
    response = await ada.post(f"{AT}/import", json=BAD[bad])
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert row_counts(faked.parley) == before


async def test_what_is_too_large_is_said(faked: Faked, ada: httpx2.AsyncClient) -> None:
    for large in (
        with_turn(message="x" * (64 * 1024 + 1)),
        BASE | {"turns": [TURN] * 10_001},
        BASE | {"metadata": {"k": "x" * (1024 * 1024)}},
    ):
        response = await ada.post(f"{AT}/import", json=large)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    plain = await ada.post(f"{AT}/import", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 422


async def test_what_no_database_takes_is_replaced(faked: Faked, ada: httpx2.AsyncClient) -> None:
    body = with_turn(message="a\0b\\u0000", answer=ANSWER | {"state": "running", "text": "\0"})
    made = (await ada.post(f"{AT}/import", json=body)).json()
    (turn,) = (await exported(ada, made["conversation_id"]))["turns"]
    assert turn["message"] == "a\N{REPLACEMENT CHARACTER}b\\u0000"
    assert turn["answer"]["text"] == "\N{REPLACEMENT CHARACTER}"
    assert turn["answer"]["state"] == turn["answer"]["finish_reason"] == "interrupted"


async def test_long_ones_come_back_soon(faked: Faked, ada: httpx2.AsyncClient) -> None:
    made = await ada.post(f"{AT}/import", json=BASE | {"turns": [TURN] * 10_000})
    assert made.status_code == 201, made.text
    again = await exported(ada, made.json()["conversation_id"])
    assert len(again["turns"]) == 10_000


async def test_what_is_taken_along_and_deleted_is_in_the_audit_log_without_its_words(
    faked: Faked, ada: httpx2.AsyncClient
) -> None:
    """By the API and by the page."""
    faked.will_reply(sse(*answer("Quintessence ", "of dust.")))
    kept = [await new_conversation(ada, title="Sarsaparilla") for _ in range(2)]
    await say(ada, kept[0], "Zephyrine said so.")
    await exported(ada, kept[0])
    assert (await ada.delete(f"{AT}/{kept[0]}")).status_code == 204
    assert (await ada.delete(f"{AT}/{kept[0]}")).status_code == 404
    body = {"threadId": kept[1]}
    page = await ada.request("DELETE", "/project/thread", json=body)
    assert page.status_code == 200
    lines = [line for line in faked.parley.log_text().splitlines() if "parley.audit" in line]
    words = [line.partition(" - audit: ")[2] for line in lines]
    of = [word for word in words if any(id in word for id in kept)]
    assert [word.partition(" - ")[0] for word in of] == [
        "conversation_exported",
        "conversation_deleted",
        "conversation_deleted",
    ]
    assert len({word.partition("user_id: ")[2][:36] for word in of}) == 1
    assert not {"Quint", "Sarsa", "Zephy"} & {word[:5] for line in lines for word in line.split()}
    assert ada.cookies["parley_guest"] not in faked.parley.log_text()
