"""Signing out: what a browser is told, and in which order."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from starlette.types import Message

from parley.auth.cookies import Cookies
from parley.auth.sign_ins import Desk
from parley.chat.turns import Owner
from parley.surfaces.account.entrance import Entrance
from parley.surfaces.account.sign_in import sign_in_routes


async def test_the_answer_is_sent_before_open_pages_load_anew() -> None:
    """Else a page is gone before it has the cookie that leads it to its provider."""
    happened: list[str] = []

    class Store:
        async def end(self, owner_id: str, now: object, sign_in_id: str) -> Sequence[str]:
            happened.append("ended")
            return [sign_in_id]

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        happened.append(message["type"])

    store: Any = Store()
    cookies = Cookies(secure=False)
    desk = Desk(store, cookies)
    desk.on_end(lambda ended: happened.append(f"told of {ended}"))
    principal = SimpleNamespace(owner=Owner("1", "ann"), sign_in_id="s")
    parts: dict[str, Any] = dict.fromkeys(Entrance.__dataclass_fields__)
    parts |= {"callers": SimpleNamespace(known=lambda _: principal), "desk": desk}
    app = FastAPI()
    app.include_router(sign_in_routes(Entrance(**parts | {"cookies": cookies})))
    scope = {"type": "http", "method": "POST", "path": "/logout", "query_string": b""}
    await app({**scope, "headers": []}, receive, send)
    assert happened == [
        "ended",
        "http.response.start",
        "http.response.body",
        "told of ['s']",
    ]
