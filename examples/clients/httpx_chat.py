"""A conversation: a turn whose connection is lost, and the rest of it from where that was."""

import json
import os
from collections.abc import Iterator

import httpx2

URL = os.environ.get("PARLEY_URL", "http://localhost:8000")
MESSAGE = os.environ.get("MESSAGE", "What is a turn?")


def events(response: httpx2.Response) -> Iterator[tuple[str, dict]]:
    """Read server-sent events: the id to go on from, and the event."""
    last_id = ""
    for line in response.iter_lines():
        if line.startswith("id: "):
            last_id = line[4:]
        elif line.startswith("data: "):
            yield last_id, json.loads(line[6:])


# The first answer brings a cookie: from then on this client is one guest, with a history.
with httpx2.Client(base_url=URL, timeout=60) as client:
    conversation = client.post("/api/v1/conversations", json={}).raise_for_status().json()
    path = f"/api/v1/conversations/{conversation['conversation_id']}/messages"
    text = ""

    headers = {"idempotency-key": "first"}  # safe to send again
    with client.stream("POST", path, json={"message": MESSAGE}, headers=headers) as response:
        response.raise_for_status()
        turn_id = response.headers["x-turn-id"]
        for cursor, event in events(response):  # noqa: B007 - needed after the loop
            if event["type"] == "text":
                text += event["content"]
                break  # the connection is lost here; the turn goes on

    with client.stream(
        "GET", f"/api/v1/turns/{turn_id}/events", headers={"last-event-id": cursor}
    ) as response:
        for _, event in events(response):
            if event["type"] == "text":
                text += event["content"]
            elif event["type"] == "snapshot":  # the cursor was too old: replace what you have
                text = event["content"]["text"]
    print(text)

    (_, answer) = client.get(path).json()["data"]
    assert answer["content"] == text
