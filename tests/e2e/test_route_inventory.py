"""Every door is known, and each is knocked at by everybody whom it must not let in."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import httpx2
import pytest

from tests.e2e.inventory import EVENTS, OURS, PAGE, Door, Guard
from tests.e2e.page_socket import page_socket
from tests.e2e.support import DEMO
from tests.patience import PATIENCE_S
from tests.server import ParleyProcess, bare_environment, run_module

_ID = "11111111-1111-4111-8111-111111111111"
PROXY, ELSEWHERE = "127.0.0.2", "127.0.0.1"
USER = "X-Forwarded-User"
SAFE = {"GET", "HEAD"}
DOORS: dict[str, Door] = {**PAGE, **OURS}
UNSAFE = [door for door in DOORS if door.split(" ")[0] in {"POST", "PUT", "PATCH", "DELETE"}]
HANDSHAKE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_every_door_has_its_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("listed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.route_lister"],
        cwd=directory,
        env=bare_environment(directory, DEMO),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    listed = json.loads(done.stdout)
    for what, rows in (("ours", OURS), ("page", PAGE), ("events", EVENTS)):
        new, gone = set(listed[what]) - set(rows), set(rows) - set(listed[what])
        name = {"ours": "OURS", "page": "PAGE", "events": "EVENTS"}[what]
        assert not new, (
            f"doors without a guard: {sorted(new)}. Add a row for each to {name} in"
            ' tests/e2e/inventory.py, such as "GET /api/v1/things": IDENTITY, or'
            ' "POST /api/v1/things": Door(Guard.IDENTITY, {"name": "x"}) with a body that fits;'
            " the tests below then knock at it."
        )
        assert not gone, f"take what is gone off {name} in tests/e2e/inventory.py: {sorted(gone)}"


@dataclass(frozen=True)
class House:
    """A Parley without guests, people who may come in, and what they left there."""

    parley: ParleyProcess
    keys: Mapping[str, str]
    thread_id: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    settings = DEMO | {"AUTH_HEADER_USER": USER, "AUTH_HEADER_TRUSTED_PROXIES": f"{PROXY}/32"}
    settings["AUTH_ADMINS"] = "root@example.org"
    assert run_module(directory, "parley", "migrate", **settings).returncode == 0
    keys = {
        name: made_key(directory, settings, *options)
        for name, options in {
            "valid": (),
            "reading": ("--scope", "read"),
            "expired": (),
            "revoked": (),
        }.items()
    }
    database = directory / ".parley" / "parley.db"
    with closing(sqlite3.connect(database)) as connection:
        for name, column in (("expired", "expires_at"), ("revoked", "revoked_at")):
            connection.execute(
                f"UPDATE api_keys SET {column} = '2026-01-01 00:00:00.000000' WHERE hint = ?",
                (keys[name][:12],),
            )
        connection.commit()
    with ParleyProcess(directory, settings) as parley:
        yield House(parley, keys, bobs_thread(parley))


def made_key(directory: object, settings: Mapping[str, str], *options: str) -> str:
    command = ("parley", "token", "create", "--user", "header:bob", *options)
    done = run_module(directory, *command, **settings)  # type: ignore[arg-type]  # a Path
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bobs_thread(parley: ParleyProcess) -> str:
    """Have Bob say something, as the proxy's user."""
    transport = httpx2.HTTPTransport(local_address=PROXY)
    with httpx2.Client(base_url=parley.url, transport=transport, timeout=PATIENCE_S) as bob:
        bob.headers[USER] = "bob"
        said = bob.post("/chat", json={"session_id": "b", "message": "only for Bob"})
        assert said.status_code == 200, said.text
        page = {"pagination": {"first": 20}, "filter": {}}
        return str(bob.post("/project/threads", json=page).json()["data"][0]["id"])


def is_socket(door: str) -> bool:
    return door.startswith(("MOUNT /ws", "WEBSOCKET "))


async def knock(
    house: House, door: str, headers: Mapping[str, str], peer: str = ELSEWHERE
) -> httpx2.Response:
    """Send what the door's row says, with these headers."""
    method, path = door.split(" ")
    row = DOORS[door]
    sent = dict(headers)
    if is_socket(door):
        sent |= HANDSHAKE
    if method == "MOUNT":
        path = "/ws/socket.io/?EIO=4&transport=websocket" if "ws" in path else "/"
    if method in {"MOUNT", "WEBSOCKET"}:
        method = "GET"
    path = re.sub(r"\{(thread_id|conversation_id)\}", house.thread_id, path)
    path = re.sub(r"\{(filename|full_path):path\}", "nothing-here", path)
    path = re.sub(r"\{[a-z_:]+\}", _ID, path)
    body = row.json
    if isinstance(body, dict) and "threadId" in body:
        body = body | {"threadId": house.thread_id}
    transport = httpx2.AsyncHTTPTransport(local_address=peer, verify=False)
    async with httpx2.AsyncClient(
        base_url=house.parley.url, transport=transport, timeout=PATIENCE_S
    ) as client:
        if row.form:
            return await client.request(method, path, headers=sent, data=row.form)
        return await client.request(method, path, headers=sent, json=body)


# Who is nobody, whatever they bring.
STRANGERS: dict[str, Mapping[str, str]] = {
    "nobody": {},
    "a guest of elsewhere": {"cookie": f"parley_guest={_ID}.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb"},
    "a made-up sign-in": {"cookie": "parley_sign_in=" + "x" * 43},
    "Chainlit's own cookie": {
        "cookie": "access_token=eyJhbGciOiJub25lIn0.eyJpZGVudGlmaWVyIjoiYm9iIn0."
    },
}
# Who brings what does not hold is refused, wherever they knock.
PRETENDERS: dict[str, Mapping[str, str]] = {
    "a forged header": {USER: "bob"},
    "its underscore twin": {"X_Forwarded_User": "bob"},
    "a key that is none": {"authorization": "Bearer parley_guessed"},
    "a key of another service": {"authorization": "Bearer sk-123"},
}
PROBES = {"GET /health", "GET /livez", "GET /readyz", "GET /metrics"}
GUARDED = [door for door, row in DOORS.items() if row.guard is not Guard.OPEN]


def is_refused(door: str, response: httpx2.Response) -> bool:
    if DOORS[door].guard is Guard.CLOSED:
        return response.status_code in {401, 404, 405} or "<!doctype" in response.text[:20].lower()
    # A handshake that is not accepted is 403, whatever the reason.
    return response.status_code == (403 if is_socket(door) else 401)


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("door", GUARDED)
async def test_strangers_come_in_nowhere(house: House, door: str, stranger: str) -> None:
    response = await knock(house, door, STRANGERS[stranger])
    assert is_refused(door, response), (response.status_code, response.text[:300])


@pytest.mark.parametrize("pretender", PRETENDERS)
@pytest.mark.parametrize("door", [door for door in DOORS if door not in PROBES])
async def test_pretenders_are_told_so(house: House, door: str, pretender: str) -> None:
    response = await knock(house, door, PRETENDERS[pretender])
    wanted = 403 if is_socket(door) else 401
    assert response.status_code == wanted, (response.status_code, response.text[:300])


@pytest.mark.parametrize("key", ["expired", "revoked"])
@pytest.mark.parametrize("door", [door for door in DOORS if door not in PROBES])
async def test_keys_that_are_over_open_nothing(house: House, door: str, key: str) -> None:
    response = await knock(house, door, {"authorization": f"Bearer {house.keys[key]}"})
    assert response.status_code == (403 if is_socket(door) else 401)


@pytest.mark.parametrize("door", UNSAFE)
async def test_a_key_that_may_read_writes_nothing(house: House, door: str) -> None:
    response = await knock(house, door, {"authorization": f"Bearer {house.keys['reading']}"})
    assert response.status_code == 403
    assert "scope chat" in response.json()["error"]["message"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize("door", [*UNSAFE, *filter(is_socket, DOORS)])
async def test_another_site_writes_nothing_as_bob(house: House, door: str, origin: str) -> None:
    response = await knock(house, door, {USER: "bob", "origin": origin}, PROXY)
    assert response.status_code == 403


PERSONAL = [door for door, row in DOORS.items() if row.guard is Guard.PERSON]


@pytest.mark.parametrize("door", PERSONAL)
async def test_a_key_is_no_person(house: House, door: str) -> None:
    response = await knock(house, door, {"authorization": f"Bearer {house.keys['valid']}"})
    assert response.status_code == 403


ADMINISTRATIVE = [door for door, row in DOORS.items() if row.guard is Guard.ADMIN]


@pytest.mark.parametrize("door", ADMINISTRATIVE)
async def test_who_does_not_administrate_sees_nothing_of_others(house: House, door: str) -> None:
    for headers, peer in (
        ({USER: "bob"}, PROXY),
        ({"authorization": f"Bearer {house.keys['valid']}"}, ELSEWHERE),
    ):
        response = await knock(house, door, headers, peer)
        assert response.status_code == 403
        assert "scope admin" in response.json()["error"]["message"]


async def test_administrators_see_numbers_and_no_words(house: House) -> None:
    async def asked(path: str) -> httpx2.Response:
        transport = httpx2.AsyncHTTPTransport(local_address=PROXY, verify=False)
        async with httpx2.AsyncClient(
            base_url=house.parley.url, transport=transport, timeout=PATIENCE_S
        ) as root:
            return await root.get(f"/api/v1/admin/{path}", headers={USER: "root@example.org"})

    usage = await asked("usage")
    (bob,) = [row for row in usage.json()["data"] if row["identifier"] == "header:bob"]
    assert bob["turns"] >= 1
    assert bob["output_tokens"] > 0
    assert "only for Bob" not in usage.text
    assert (await asked("health")).status_code == 200
    refused = await asked(f"users/{bob['user_id']}/conversations")
    assert refused.status_code == 403
    assert "ADMIN_CAN_READ" in refused.text
    assert "audit: admin_read_refused" in house.parley.log_text()


OF_BOB = [
    door
    for door, row in DOORS.items()
    if row.guard is Guard.IDENTITY
    and ("{thread_id}" in door or "{conversation_id}" in door or "threadId" in (row.json or {}))
]


@pytest.mark.parametrize("door", OF_BOB)
async def test_what_is_bobs_is_not_there_for_carol(house: House, door: str) -> None:
    response = await knock(house, door, {USER: "carol"}, PROXY)
    assert response.status_code == 404, (response.status_code, response.text[:300])
    assert "only for Bob" not in response.text


async def test_what_is_bobs_is_still_there_for_bob(house: House) -> None:
    """After all of the above."""
    response = await knock(house, "GET /project/thread/{thread_id}", {USER: "bob"}, PROXY)
    assert response.status_code == 200
    assert "only for Bob" in response.text


@asynccontextmanager
async def socket_of(house: House, headers: Mapping[str, str]) -> AsyncIterator[object]:
    async with page_socket(house.parley, "", headers=dict(headers)) as socket:
        yield socket


@pytest.mark.parametrize(
    "headers",
    [*STRANGERS.values(), *PRETENDERS.values()],
    ids=[*STRANGERS, *PRETENDERS],
)
async def test_no_event_is_taken_from_who_is_not_known(
    house: House, headers: Mapping[str, str]
) -> None:
    """There is no socket to send one on."""
    with pytest.raises(ConnectionError):
        async with socket_of(house, headers):
            pass
