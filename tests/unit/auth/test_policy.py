"""Policy: who may come in is who is written there, and nobody who merely looks like them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.auth.policy import Policy
from parley.auth.principal import Scope
from parley.chat.identities import Profile

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
DOMAINS = st.tuples(NAMES, NAMES).map(".".join)


def of(email: str = "", *groups: str) -> Profile:
    return Profile("Somebody", email, groups=groups)


def test_without_a_list_everyone_may_come_in_and_nobody_administrates() -> None:
    assert Policy().admits(of())
    assert Policy().scopes(of("ann@example.org", "staff")) == {Scope.READ, Scope.CHAT}


@pytest.mark.parametrize(
    "entry", ["ann@example.org", "ANN@Example.ORG", "@example.org", "@EXAMPLE.org", "group:staff"]
)
def test_who_is_listed_may_come_in(entry: str) -> None:
    assert Policy((entry,)).admits(of("Ann@example.org", "staff"))


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ann",
        "@example.org",
        "ann@",
        "ann@evil.example",
        "ann@sub.example.org",
        "ann@example.org.evil.example",
        "ann@notexample.org",
        "ann@evil.example@example.org",  # the second at hides the first
        "ann@example.org@evil.example",
        '"ann@example.org"@evil.example',
        "ann@example.org ",
        "ann@example.org\n",
        "ann@exаmple.org",  # noqa: RUF001 - a Cyrillic letter, which is the point
        "xann@example.org@",
    ],
)
def test_who_looks_like_it_may_not(email: str) -> None:
    domain = Policy(("@example.org", "group:staff"))
    assert not domain.admits(of(email))
    assert not Policy(("ann@example.org",)).admits(of(email))
    assert Scope.ADMIN not in Policy(admins=("@example.org",)).scopes(of(email))


@pytest.mark.parametrize("group", ["Staff", "staff ", "staf", "staffs", "group:staff", ""])
def test_a_group_is_its_whole_name(group: str) -> None:
    assert not Policy(("group:staff",)).admits(of("", group))


def test_an_administrator_comes_in_without_being_listed() -> None:
    policy = Policy(("@example.org",), ("boss@elsewhere.example",))
    assert policy.admits(of("boss@elsewhere.example"))
    assert Scope.ADMIN in policy.scopes(of("boss@elsewhere.example"))
    assert Scope.ADMIN not in policy.scopes(of("ann@example.org"))


def test_an_address_is_no_group_and_a_group_no_address() -> None:
    assert not Policy(("group:ann@example.org",)).admits(of("ann@example.org"))
    assert not Policy(("ann@example.org",)).admits(of("", "ann@example.org"))


@given(NAMES, DOMAINS, NAMES, DOMAINS)
def test_only_the_one_that_is_listed(name: str, domain: str, other: str, elsewhere: str) -> None:
    listed, came = f"{name}@{domain}", f"{other}@{elsewhere}"
    assert Policy((listed,)).admits(of(came)) == (listed.casefold() == came.casefold())
    assert Policy((f"@{domain}",)).admits(of(came)) == (domain.casefold() == elsewhere.casefold())


@given(st.text(max_size=20), DOMAINS)
def test_whatever_an_address_is_it_belongs_to_what_follows_its_only_at(
    email: str, domain: str
) -> None:
    if Policy((f"@{domain}",)).admits(of(email)):
        name, at, rest = email.partition("@")
        assert name
        assert at
        assert rest.casefold() == domain.casefold()
