"""Three messages on one socket without waiting; each is answered, in order."""

import asyncio
import json
import os

from websockets.asyncio.client import connect

URL = os.environ.get("PARLEY_URL", "http://localhost:8000").replace("http", "ws", 1)
MESSAGE = os.environ.get("MESSAGE", "What is a turn?")


async def main() -> None:
    """Send all, then read until all are done."""
    answers: dict[str, str] = {}
    async with connect(f"{URL}/ws") as socket:
        for number in range(3):
            message = {"type": "message", "message": MESSAGE, "id": f"m{number}"}
            await socket.send(json.dumps(message))
        done = 0
        while done < 3:
            event = json.loads(await socket.recv())
            if event["type"] == "text":
                turn = event["turn_id"]
                answers[turn] = answers.get(turn, "") + event["content"]
            done += event["type"] == "done"
    for answer in answers.values():
        print(answer)
    assert len(answers) == 3


asyncio.run(main())
