"""API keys: one that holds lets in as its owner, with its scopes; all others look the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from parley.auth.api_keys import KeyWay, NewKey, make_key
from parley.auth.policy import Policy
from parley.auth.principal import CHATTING, Scope
from parley.chat.errors import Unauthenticated
from parley.chat.identities import ApiKey, ApiKeys, Profile
from parley.chat.turns import Owner
from tests.unit.surfaces.asgi import connection

ANN = Owner("6d1f8d2e-5a35-4b43-9f0e-0d7b1c1c2a11", "https://op.example|ann")
BEFORE = datetime.now(UTC) - timedelta(hours=1)


class Kept:
    """Keys in memory; tests/contract/test_identities.py has the real ones."""

    def __init__(self, *keys: NewKey) -> None:
        self.keys = {new.digest: new.key for new in keys}
        self.uses: list[str] = []
        self.reads = 0

    async def find(self, digest: str) -> ApiKey | None:
        self.reads += 1
        return self.keys.get(digest)

    async def used(self, key: ApiKey, now: datetime) -> None:
        self.uses.append(key.id)


def a_key(*scopes: Scope, **changes: Any) -> NewKey:
    new = make_key(ANN, "laptop", scopes or sorted(CHATTING), None)
    return NewKey(new.text, replace(new.key, **changes))


def way(*keys: NewKey, policy: Policy | None = None, allow_guests: bool = False) -> KeyWay:
    return KeyWay(cast(ApiKeys, Kept(*keys)), policy or Policy(), allow_guests=allow_guests)


def sent(value: str) -> Any:
    return connection({"authorization": value})


async def test_a_key_is_its_owner_with_its_scopes() -> None:
    new = a_key(Scope.READ)
    principal = await way(new).identify(sent(f"Bearer {new.text}"))
    assert principal is not None
    assert (principal.owner, principal.scopes) == (ANN, frozenset({Scope.READ}))
    assert principal.key_id == new.key.id


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_the_scheme_is_in_any_case(scheme: str) -> None:
    new = a_key()
    assert await way(new).identify(sent(f"{scheme} {new.text}"))


@pytest.mark.parametrize(
    "value", ["", "Basic YTpi", "parley_x", "Bearerparley_x", "Token parley_x"]
)
async def test_what_is_no_bearer_is_not_this_way(value: str) -> None:
    assert await way(a_key()).identify(sent(value)) is None


GOOD = a_key()
REFUSED = {
    "unknown": "parley_" + "x" * 43,
    "a piece of one": GOOD.text[:-1],
    "more than one": GOOD.text + "x",
    "another case": GOOD.text.swapcase().replace("PARLEY_", "parley_"),
    "its digest": f"parley_{GOOD.digest}",
    "its id": f"parley_{GOOD.key.id}",
    "nothing": "parley_",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_key_is_refused(what: str) -> None:
    for allow_guests in (True, False):
        with pytest.raises(Unauthenticated):
            await way(GOOD, allow_guests=allow_guests).identify(sent(f"Bearer {REFUSED[what]}"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expires_at": BEFORE}, "expired"),
        ({"revoked_at": BEFORE}, "revoked"),
        ({"profile": Profile(email="ann@elsewhere.example")}, "AUTH_ALLOWED"),
        ({}, "unknown"),
    ],
)
async def test_all_refusals_look_the_same_and_the_audit_log_says_why(
    changes: dict[str, Any], reason: str
) -> None:
    new = a_key(**changes)
    keys = [] if reason == "unknown" else [new]
    with capture_logs() as lines, pytest.raises(Unauthenticated) as refused:
        await way(*keys, policy=Policy(("@example.org",))).identify(sent(f"Bearer {new.text}"))
    assert "unknown, expired or revoked" in refused.value.message
    (line,) = lines
    assert (line["audit"], line["reason"]) == ("key_refused", reason)
    assert new.text not in str(line)
    assert ("key_id" in line) is (reason != "unknown")


async def test_two_headers_are_refused() -> None:
    request = connection({"authorization": f"Bearer {GOOD.text}"})
    request.scope["headers"].append((b"authorization", b"Basic YTpi"))
    with pytest.raises(Unauthenticated, match="one Authorization header"):
        await way(GOOD).identify(request)


async def test_another_servers_key_is_ignored_where_guests_are_allowed() -> None:
    assert await way(allow_guests=True).identify(sent("Bearer sk-1234")) is None
    with pytest.raises(Unauthenticated, match="no API key of this server"):
        await way().identify(sent("Bearer sk-1234"))


async def test_an_administrators_key_reads_too() -> None:
    new = a_key(Scope.ADMIN)
    principal = await way(new).identify(sent(f"Bearer {new.text}"))
    assert principal is not None
    assert principal.scopes == {Scope.ADMIN, Scope.READ}


async def test_who_is_no_administrator_any_more_is_none_by_a_key() -> None:
    new = a_key(Scope.ADMIN, Scope.CHAT, profile=Profile(email="ann@example.org"))
    for admins, is_one in ((("ann@example.org",), True), ((), False)):
        principal = await way(new, policy=Policy(admins=admins)).identify(
            sent(f"Bearer {new.text}")
        )
        assert principal is not None
        assert (Scope.ADMIN in principal.scopes) is is_one
        assert Scope.CHAT in principal.scopes


async def test_many_requests_read_once_and_a_revoked_key_is_read_again() -> None:
    kept = Kept(new := a_key())
    keys = KeyWay(cast(ApiKeys, kept), Policy(), allow_guests=False)
    for _ in range(20):
        await keys.identify(sent(f"Bearer {new.text}"))
    assert (kept.reads, kept.uses) == (1, [new.key.id])
    kept.keys[new.digest] = replace(new.key, revoked_at=BEFORE)
    keys.forget()
    with pytest.raises(Unauthenticated):
        await keys.identify(sent(f"Bearer {new.text}"))


async def test_a_key_that_expires_is_over_at_once_however_lately_it_was_read() -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=500)
    new = a_key(expires_at=soon)
    keys = way(new)
    assert await keys.identify(sent(f"Bearer {new.text}"))
    while datetime.now(UTC) <= soon:
        pass
    with pytest.raises(Unauthenticated):
        await keys.identify(sent(f"Bearer {new.text}"))
