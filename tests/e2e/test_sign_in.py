"""Signing in at a real, certified provider: what fits lets in, and nothing else does."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from tests.e2e.support import DEMO, PATIENT, chat, select
from tests.fakes.model_server import ModelServer, answer, model_server, sse
from tests.fakes.tls_proxy import Authority, tls_proxy
from tests.identity_services import CLIENT_SECRET, OidcProvider, oidc_provider, sign_in_at
from tests.server import ROOT, ParleyProcess

HTML = {"accept": "text/html"}
START = "/auth/oauth/generic"


@dataclass(frozen=True)
class Team:
    """A Parley that people sign in to, and the provider where they do."""

    parley: ParleyProcess
    provider: OidcProvider

    @property
    def url(self) -> str:
        return f"http://localhost:{self.parley.port}"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Two ways to sign in, at one provider; guests are let in too."""
    parley = ParleyProcess(tmp_path_factory.mktemp("team"))
    url = f"http://localhost:{parley.port}"
    back = [f"{url}/auth/oauth/{name}/callback" for name in ("generic", "huggingface")]
    with oidc_provider(back) as provider:
        parley.environment |= DEMO | provider.settings()
        parley.environment |= {
            "PUBLIC_URL": url,
            "ALLOW_GUESTS": "true",
            "OPENID_PROVIDER_URL": provider.issuer,
            "OAUTH_CLIENT_ID": "parley",
            "OAUTH_CLIENT_SECRET": provider.settings()["OAUTH_GENERIC_CLIENT_SECRET"],
            "OAUTH_SCOPES": "profile inference-api",
            "AUTH_ADMINS": "group:staff",
        }
        with parley:
            yield Team(parley, provider)


@asynccontextmanager
async def browser(team: Team) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=team.url, timeout=30) as client:
        yield client


async def departed(client: httpx2.AsyncClient, start: str = START) -> str:
    response = await client.get(start)
    assert response.status_code == 303, response.text
    return response.headers["location"]


async def signed_in(client: httpx2.AsyncClient, name: str, start: str = START) -> httpx2.Response:
    back = await sign_in_at(client, await departed(client, start), name)
    response = await client.get(back)
    assert response.status_code == 303, response.text
    return response


async def me(client: httpx2.AsyncClient) -> dict[str, object]:
    response = await client.get("/api/v1/me")
    return response.json() if response.status_code == 200 else {}


async def test_two_users_side_by_side_have_their_own_threads(team: Team) -> None:
    async with browser(team) as ann, browser(team) as bob:
        await signed_in(ann, "ann")
        await signed_in(bob, "bob")
        assert (await me(ann))["identifier"] == f"{team.provider.issuer}|ann"
        assert (await me(ann))["name"] == "Ann"
        await chat(ann, "said by Ann")
        assert "said by Ann" not in await chat(bob, "said by Bob")
        ids = (await me(ann))["user_id"], (await me(bob))["user_id"]
        assert ids[0] != ids[1]


async def test_groups_make_administrators(team: Team) -> None:
    async with browser(team) as one:
        await signed_in(one, "staff-cleo")
        assert (await me(one))["scopes"] == ["admin", "chat", "read"]


async def test_who_comes_back_is_the_same_user(team: Team) -> None:
    async with browser(team) as here, browser(team) as there:
        await signed_in(here, "dora")
        await signed_in(there, "dora")
        assert (await me(here))["user_id"] == (await me(there))["user_id"]


async def test_another_way_in_is_the_same_person_at_the_same_issuer(team: Team) -> None:
    async with browser(team) as client:
        await signed_in(client, "emil")
        before = await me(client)
        await signed_in(client, "emil", "/auth/oauth/huggingface")
        assert (await me(client))["user_id"] == before["user_id"]


async def test_the_way_back_leads_where_one_was(team: Team) -> None:
    async with browser(team) as client:
        response = await signed_in(client, "ann", f"{START}?back_to=/thread/7")
        assert response.headers["location"] == "/thread/7"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx"],
)
async def test_the_way_back_leads_nowhere_else(team: Team, elsewhere: str) -> None:
    async with browser(team) as client:
        response = await signed_in(client, "ann", f"{START}?{urlencode({'back_to': elsewhere})}")
        assert response.headers["location"] == "/"


async def test_signing_out_is_over_at_once_and_a_copy_of_the_cookie_too(team: Team) -> None:
    async with browser(team) as client, browser(team) as thief:
        await signed_in(client, "finn")
        stolen = client.cookies["parley_sign_in"]
        thief.cookies.set("parley_sign_in", stolen)
        assert (await me(thief))["name"] == "Finn"
        assert (await client.post("/logout")).json() == {"success": True}
        assert await me(client) == {}
        assert await me(thief) == {}


async def test_signing_out_everywhere(team: Team) -> None:
    async with browser(team) as here, browser(team) as there:
        await signed_in(here, "gil")
        await signed_in(there, "gil")
        await here.post("/account/sign-out-everywhere")
        assert await me(there) == {}


async def test_who_signs_out_signs_out_at_the_provider_with_the_next_page(team: Team) -> None:
    """The page signs out by a request of its script, which leads nowhere."""
    async with browser(team) as client:
        await signed_in(client, "hugo")
        await client.post("/logout")
        assert (await client.get("/api/v1/models")).status_code == 200, "it is no page"
        page = await client.get("/thread/7", headers=HTML)
        assert (page.status_code, page.headers["location"]) == (303, "/logout/provider")
        away = await client.get("/logout/provider")
        (goal,) = re.findall(r'content="0;url=([^"]+)"', away.text)
        goal = unescape(goal)
        assert goal.startswith(f"{team.provider.issuer}/session/end?")
        asked = parse_qs(urlsplit(goal).query)
        assert asked["client_id"] == ["parley"]
        assert asked["post_logout_redirect_uri"] == [f"{team.url}/login"]
        assert asked["id_token_hint"][0].count(".") == 2
        assert asked["id_token_hint"][0] not in team.parley.log_text()
        assert (await client.get(goal)).status_code == 200
        assert (await client.get("/", headers=HTML)).status_code == 200, "once"
        assert (await client.get("/logout/provider")).headers["location"] == "/login"


async def test_of_two_pages_that_are_opened_at_once_either_leads_to_the_provider(
    team: Team,
) -> None:
    """A page loads anew when it is signed out, and goes to the sign-in: only the last is shown."""
    here, back = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "same-site"}
    async with browser(team) as client:
        await signed_in(client, "jana")
        await client.post("/logout")
        for path in ("/", "/login"):
            page = await client.get(path, headers=HTML | here)
            assert page.headers["location"] == "/logout/provider"
            away = await client.get("/logout/provider", headers=HTML | here)
            assert "/session/end?" in away.text
        assert (await client.get("/login", headers=HTML | back)).status_code == 200
        assert (await client.get("/login", headers=HTML | here)).status_code == 200, "it was there"
        assert (await client.get("/logout/provider")).headers["location"] == "/login"


@pytest.mark.parametrize("path", ["/logout", "/account/sign-out-everywhere"])
async def test_a_form_signs_out_at_the_provider_too(team: Team, path: str) -> None:
    async with browser(team) as client:
        await signed_in(client, "ilse")
        assert (await client.post(path, headers=HTML)).headers["location"] == "/login"
        page = await client.get("/login", headers=HTML)
        assert page.headers["location"] == "/logout/provider"


@pytest.mark.parametrize("cookie", ["x", "https://evil.example", "gAAAAA", ""])
async def test_nobody_is_led_elsewhere_by_a_made_up_cookie(team: Team, cookie: str) -> None:
    async with browser(team) as client:
        answer = await client.get(
            "/logout/provider", headers={"cookie": f"parley_leaving={cookie}"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def refused(client: httpx2.AsyncClient, back: str) -> str:
    response = await client.get(back)
    assert response.status_code == 401, response.text
    assert "Begin again" in response.text or "not completed" in response.text
    assert "parley_sign_in" not in client.cookies
    return response.text


def changed(url: str, **query: str) -> str:
    parts = urlsplit(url)
    now = {name: values[0] for name, values in parse_qs(parts.query).items()} | query
    kept = {name: value for name, value in now.items() if value}
    return parts._replace(query=urlencode(kept)).geturl()


async def test_somebody_who_denies_it_is_told_so(team: Team) -> None:
    async with browser(team) as client:
        back = await sign_in_at(client, await departed(client), "ann", deny=True)
        assert "not completed" in await refused(client, back)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "guessed"},
        {"state": ""},
        {"code": "guessed"},
        {"code": ""},
        {"iss": "https://evil.example"},
    ],
    ids=str,
)
async def test_an_answer_that_was_tampered_with_is_refused(
    team: Team, query: dict[str, str]
) -> None:
    async with browser(team) as client:
        back = await sign_in_at(client, await departed(client), "ann")
        await refused(client, changed(back, **query))


async def test_an_answer_is_taken_once(team: Team) -> None:
    async with browser(team) as client:
        back = await sign_in_at(client, await departed(client), "ann")
        assert (await client.get(back)).status_code == 303
        client.cookies.delete("parley_sign_in")
        await refused(client, back)


async def test_an_answer_for_another_browser_is_refused(team: Team) -> None:
    """Who gets a victim to follow the way back does not make the victim somebody else."""
    async with browser(team) as attacker, browser(team) as victim:
        back = await sign_in_at(attacker, await departed(attacker), "mallory")
        await departed(victim)
        await refused(victim, back)


async def test_an_answer_for_another_provider_is_refused(team: Team) -> None:
    async with browser(team) as client:
        back = await sign_in_at(client, await departed(client), "ann")
        await refused(client, back.replace("/generic/", "/huggingface/"))


@pytest.mark.parametrize("name", ["nonce", "code_challenge"])
async def test_what_the_provider_was_asked_cannot_be_changed(team: Team, name: str) -> None:
    async with browser(team) as client:
        asked = changed(await departed(client), **{name: "x" * 43})
        await refused(client, await sign_in_at(client, asked, "ann"))


async def test_the_provider_sends_nobody_elsewhere(team: Team) -> None:
    async with browser(team) as client:
        asked = changed(await departed(client), redirect_uri="https://evil.example/callback")
        assert (await client.get(asked)).status_code == 400


@pytest.mark.parametrize("provider", ["github", "azure-ad-hybrid", "nonsense"])
async def test_what_is_not_configured_is_not_there(team: Team, provider: str) -> None:
    async with browser(team) as client:
        response = await client.get(f"/auth/oauth/{provider}")
        assert response.status_code == 404
        assert "location" not in response.headers
        assert (await client.get(f"/auth/oauth/{provider}/callback?state=x")).status_code in {
            401,
            404,
        }


async def test_a_guest_keeps_what_they_said(team: Team) -> None:
    async with browser(team) as client:
        await client.get("/", headers=HTML)
        guest = (await me(client))["user_id"]
        await chat(client, "before I signed in")
        await signed_in(client, "hanna")
        user = (await me(client))["user_id"]
        statement = "SELECT owner_id FROM threads WHERE name LIKE 'before I%'"
        assert select(team.parley, statement) == [(str(user).replace("-", ""),)]
        assert client.cookies.get("parley_guest") is None
        left = select(team.parley, "SELECT 1 FROM users WHERE id = ?", str(guest).replace("-", ""))
        assert left == []


async def test_a_provider_that_is_away_is_said_so(team: Team, tmp_path: Path) -> None:
    away = {"OAUTH_GENERIC_ISSUER": "http://127.0.0.1:9", "PUBLIC_URL": "http://localhost:1"}
    parley = ParleyProcess(tmp_path, team.parley.environment | away)
    await asyncio.to_thread(parley.start)
    try:
        async with httpx2.AsyncClient(base_url=parley.url, timeout=30) as client:
            response = await client.get(START)
        assert response.status_code == 502
        assert "cannot be reached" in response.json()["error"]["message"]
    finally:
        await asyncio.to_thread(parley.stop)


MODEL = "Qwen/Qwen2.5-7B-Instruct"


@asynccontextmanager
async def paid_by_users(home: Path) -> AsyncIterator[tuple[Team, ModelServer]]:
    """A Parley with no token of its own, and on this machine what it takes for Hugging Face."""
    parley, authority = ParleyProcess(home), Authority(home)
    url = f"http://localhost:{parley.port}"
    tls = authority.server_context("127.0.0.1", "router.huggingface.co")
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(model_server(sse(*answer("Paid ", "by you."))))
        plain_port = int(urlsplit(router.base_url).port or 0)
        secure_port = await stack.enter_async_context(tls_proxy(tls, plain_port))
        back = f"{url}/auth/oauth/huggingface/callback"
        provider = stack.enter_context(oidc_provider([back]))
        parley.environment |= PATIENT | {
            "PUBLIC_URL": url,
            "ALLOW_GUESTS": "true",
            "OPENID_PROVIDER_URL": provider.issuer,
            "OAUTH_CLIENT_ID": "parley",
            "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_SCOPES": "openid profile inference-api",
            "HF_MODEL": MODEL,
            "DETECT_LOCAL_MODELS": "false",
            "LOG_LEVEL": "DEBUG",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'fakes' / 'elsewhere'}",
            "HOSTS_HERE": f"router.huggingface.co={secure_port}",
            "SSL_CERT_FILE": str(authority.ca_file),
        }
        await asyncio.to_thread(parley.start)
        stack.push_async_callback(asyncio.to_thread, parley.stop)
        yield Team(parley, provider), router


async def test_a_users_own_token_pays_at_hugging_face(tmp_path: Path) -> None:
    """Kept encrypted, in no cookie and no log, and gone with the sign-in."""
    async with paid_by_users(tmp_path) as (team, router), browser(team) as ann:
        async with browser(team) as guest:
            await guest.get("/", headers=HTML)
            assert "Paid" not in await chat(guest, "hi")
        assert router.requests == []
        await signed_in(ann, "ann", "/auth/oauth/huggingface")
        assert await chat(ann, "hi") == "Paid by you."
        (asked,) = router.requests
        assert asked.path == "/v1/chat/completions"
        assert asked.json["model"] == MODEL
        token = asked.headers["authorization"].removeprefix("Bearer ")
        assert token.startswith("hf_oauth_")
        (sealed,) = select(team.parley, "SELECT sealed_token FROM sign_ins")[0]
        assert sealed
        assert token not in sealed
        files = (team.parley.directory / ".parley").rglob("*")
        kept = b"".join(path.read_bytes() for path in files if path.is_file())
        cookies = str([cookie.value for cookie in ann.cookies.jar])
        for place in (kept.decode("latin-1"), team.parley.log_text(), cookies):
            assert token not in place
            assert token.removeprefix("hf_oauth_") not in place
        await ann.post("/logout")
        assert select(team.parley, "SELECT sealed_token FROM sign_ins") == [(None,)]
        assert "Paid" not in await chat(ann, "and now?")
        assert len(router.requests) == 1


async def test_the_log_tells_who_and_no_secret(team: Team) -> None:
    async with browser(team) as client:
        back = await sign_in_at(client, await departed(client), "ida")
        await client.get(back)
        log = team.parley.log_text()
        assert f"signed_in - identifier: {team.provider.issuer}|ida" in log
        code = parse_qs(urlsplit(back).query)["code"][0]
        for secret in (code, client.cookies["parley_sign_in"]):
            assert secret not in log
