"""A proxy says who calls: behind a real nginx, and past it with whatever could be forged."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from typing_extensions import override

from tests.e2e.page_socket import page_socket
from tests.e2e.support import DEMO, chat
from tests.identity_services import nginx
from tests.patience import PATIENCE_S
from tests.server import ParleyProcess
from tests.services import find_free_port

SECRET, OLD_SECRET = "the-proxys-secret-0123", "the-one-before-01234567"
# The proxy's end of its connections: another address of this machine than everybody else's.
PROXY, ELSEWHERE = "127.0.0.2", "127.0.0.1"
NAME = "X-Forwarded-User"
HTML = {"accept": "text/html"}
# What oauth2-proxy does for nginx: it says who it is by the visitor's session, here a cookie.
PROXYING = """
map $http_upgrade $upgrading {{ default upgrade; '' close; }}
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://127.0.0.1:{upstream};
    proxy_bind {proxy};
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $upgrading;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-User $cookie_signed_in_at_proxy;
    proxy_set_header X-Proxy-Secret {secret};
  }}
}}
"""


class Proxied:
    """Parley behind nginx; `url` is nginx's."""

    def __init__(self, parley: ParleyProcess, url: str) -> None:
        self.parley = parley
        self.url = url

    @override
    def __repr__(self) -> str:
        return "proxied"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    parley = ParleyProcess(
        tmp_path_factory.mktemp("proxied"),
        DEMO
        | {
            "AUTH_HEADER_USER": NAME,
            "AUTH_HEADER_TRUSTED_PROXIES": f"{PROXY}/32",
            "AUTH_HEADER_SECRET": f"{SECRET},{OLD_SECRET}",
            "AUTH_ADMINS": "root@example.org",
        },
    )
    port = find_free_port()
    configuration = PROXYING.format(port=port, upstream=parley.port, proxy=PROXY, secret=SECRET)
    with parley, nginx(configuration, tmp_path_factory.mktemp("nginx")):
        yield Proxied(parley, f"http://127.0.0.1:{port}")


@asynccontextmanager
async def through(proxied: Proxied, user: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser that is signed in at the proxy."""
    async with httpx2.AsyncClient(base_url=proxied.url, timeout=PATIENCE_S) as client:
        if user:
            client.cookies.set("signed_in_at_proxy", user)
        yield client


async def me(client: httpx2.AsyncClient) -> str:
    response = await client.get("/api/v1/me")
    return str(response.json()["identifier"]) if response.status_code == 200 else ""


async def test_the_proxys_word_is_taken(proxied: Proxied) -> None:
    async with through(proxied, "bob@example.org") as bob, through(proxied, "carol") as carol:
        assert await me(bob) == "header:bob@example.org"
        assert await me(carol) == "header:carol"
        await chat(bob, "of Bob")
        assert "of Bob" not in await chat(carol, "of Carol")


async def test_what_a_visitor_adds_the_proxy_takes_away(proxied: Proxied) -> None:
    forged = {NAME: "root@example.org", "X-Proxy-Secret": "guessed", "X_Forwarded_User": "root"}
    async with through(proxied, "bob@example.org") as bob, through(proxied, "") as nobody:
        assert (await bob.get("/api/v1/me", headers=forged)).json()["kind"] == "user"
        assert await me(bob) == "header:bob@example.org"
        assert (await nobody.get("/api/v1/me", headers=forged)).status_code == 401


async def test_administrators_are_named_by_their_address(proxied: Proxied) -> None:
    async with through(proxied, "root@example.org") as root:
        assert "admin" in (await root.get("/api/v1/me")).json()["scopes"]


async def test_another_user_at_the_proxy_is_noticed_at_once(proxied: Proxied) -> None:
    """Bob's open page is closed, what it asks for is refused, and a reload is Carol's."""
    async with through(proxied, "bob") as browser:
        await browser.get("/", headers=HTML)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with page_socket(proxied, cookies) as socket:
            browser.cookies.set("signed_in_at_proxy", "carol")
            assert (await browser.get("/api/v1/me")).status_code == 401
            await socket.until_closed()
        await browser.get("/", headers=HTML)
        assert await me(browser) == "header:carol"


async def test_signing_out_at_the_proxy_is_noticed_at_once(proxied: Proxied) -> None:
    async with through(proxied, "dora") as browser:
        await browser.get("/", headers=HTML)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with page_socket(proxied, cookies) as socket:
            browser.cookies.delete("signed_in_at_proxy")
            assert await me(browser) == ""
            await socket.until_closed()


async def test_a_stolen_cookie_is_worth_nothing_past_the_proxy(proxied: Proxied) -> None:
    async with through(proxied, "emil") as emil:
        await emil.get("/", headers=HTML)
        stolen = {"cookie": f"parley_sign_in={emil.cookies['parley_sign_in']}"}
        async with httpx2.AsyncClient(base_url=proxied.parley.url, timeout=PATIENCE_S) as thief:
            assert (await thief.get("/api/v1/me", headers=stolen)).status_code == 401
        assert await me(emil) == "header:emil", "and takes nothing from its owner"


RIGHT = ("X-Proxy-Secret", SECRET)
ROOT = (NAME, "root@example.org")
# What is sent past nginx: from where, and which headers.
FORGED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "the bare name": (ELSEWHERE, [ROOT]),
    "another spelling": (ELSEWHERE, [(NAME.lower(), "root")]),
    "with the right secret": (ELSEWHERE, [ROOT, RIGHT]),
    "as if for the proxy": (ELSEWHERE, [ROOT, RIGHT, ("X-Forwarded-For", PROXY)]),
    "as if by the proxy": (ELSEWHERE, [ROOT, RIGHT, ("X-Real-IP", PROXY)]),
    "as if forwarded": (ELSEWHERE, [ROOT, RIGHT, ("Forwarded", f"for={PROXY};by={PROXY}")]),
    "under an underscore": (ELSEWHERE, [("X_Forwarded_User", "root"), RIGHT]),
    "no secret": (PROXY, [ROOT]),
    "an empty secret": (PROXY, [ROOT, ("X-Proxy-Secret", "")]),
    "a wrong secret": (PROXY, [ROOT, ("X-Proxy-Secret", SECRET[:-1])]),
    "a longer secret": (PROXY, [ROOT, ("X-Proxy-Secret", SECRET + "0")]),
    "two secrets": (PROXY, [ROOT, RIGHT, ("X-Proxy-Secret", "guessed")]),
    "the secret twice": (PROXY, [ROOT, RIGHT, RIGHT]),
    "the secret in a list": (PROXY, [ROOT, ("X-Proxy-Secret", f"{SECRET},{OLD_SECRET}")]),
    "the secret under an underscore": (PROXY, [ROOT, ("X_Proxy_Secret", SECRET)]),
    "two names": (PROXY, [("X-Forwarded-User", "bob"), ROOT, RIGHT]),
    "the same name twice": (PROXY, [ROOT, ROOT, RIGHT]),
    "an underscore twin": (PROXY, [("X_Forwarded_User", "root"), (NAME, "bob"), RIGHT]),
    "another twin": (PROXY, [("X-Forwarded_User", "root"), RIGHT]),
    "names with a comma": (PROXY, [(NAME, "root@example.org,bob"), RIGHT]),
    "names with a semicolon": (PROXY, [(NAME, "root;bob"), RIGHT]),
    "names with a space": (PROXY, [(NAME, "root bob"), RIGHT]),
    "a name with a tab": (PROXY, [(NAME, "root\tbob"), RIGHT]),
    "a name that is no ASCII": (PROXY, [(NAME, "r\xf6\xf6t"), RIGHT]),
    "a name that is too long": (PROXY, [(NAME, "r" * 321), RIGHT]),
}
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
DOORS = {
    "api": ("GET", "/api/v1/me", {}, None),
    "chat": ("POST", "/chat", {}, {"session_id": "a", "message": "let me in"}),
    "page": ("GET", "/project/settings", {}, None),
    "socket": ("GET", "/ws/socket.io/?EIO=4&transport=websocket", UPGRADE, None),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("forged", FORGED)
async def test_a_forged_header_opens_no_door(proxied: Proxied, forged: str, door: str) -> None:
    peer, sent = FORGED[forged]
    method, path, more, body = DOORS[door]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    transport = httpx2.AsyncHTTPTransport(local_address=peer, verify=False)
    async with httpx2.AsyncClient(
        base_url=proxied.parley.url, transport=transport, timeout=PATIENCE_S
    ) as client:
        response = await client.request(method, path, headers=headers, json=body)
    # A handshake that is not accepted is 403, whatever the reason.
    assert response.status_code == (403 if door == "socket" else 401), response.text


async def test_both_secrets_are_right_while_they_are_exchanged(proxied: Proxied) -> None:
    transport = httpx2.AsyncHTTPTransport(local_address=PROXY)
    async with httpx2.AsyncClient(
        base_url=proxied.parley.url, transport=transport, timeout=PATIENCE_S
    ) as client:
        for secret in (SECRET, OLD_SECRET):
            headers = {NAME: "bob", "X-Proxy-Secret": secret}
            assert (await client.get("/api/v1/me", headers=headers)).status_code == 200


async def test_probes_need_no_proxy(proxied: Proxied) -> None:
    async with httpx2.AsyncClient(base_url=proxied.parley.url, timeout=PATIENCE_S) as client:
        for path in ("/health", "/livez", "/readyz"):
            assert (await client.get(path, headers={NAME: "root"})).status_code == 200


async def test_refusals_are_in_the_audit_log(proxied: Proxied, tmp_path: Path) -> None:
    async with httpx2.AsyncClient(base_url=proxied.parley.url, timeout=PATIENCE_S) as client:
        await client.get("/api/v1/me", headers={NAME: "root@example.org"})
    assert "audit: header_refused" in proxied.parley.log_text()
    assert SECRET not in proxied.parley.log_text()
