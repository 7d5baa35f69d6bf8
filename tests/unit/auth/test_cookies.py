"""Cookies: none is weaker than it has to be."""

import pytest

from parley.auth.cookies import Cookies


def attributes(cookies: Cookies) -> set[str]:
    _, *rest = cookies.render(cookies.host_only("name"), "value", 60).split("; ")
    return {part.lower() for part in rest}


@pytest.mark.parametrize("framed", [True, False])
def test_without_https_it_is_lax_and_not_secure(framed: bool) -> None:
    """A frame needs a secure cookie: without HTTPS there is none, and no weaker one instead."""
    said = attributes(Cookies(secure=False, framed=framed))
    assert said == {"path=/", "httponly", "samesite=lax", "max-age=60"}


def test_behind_https_it_is_secure_and_no_other_host_can_set_it() -> None:
    cookies = Cookies(secure=True)
    assert attributes(cookies) == {"path=/", "httponly", "samesite=lax", "secure", "max-age=60"}
    assert cookies.host_only("name") == "__Host-name"
    assert cookies.read({"name": "set by another host"}, "name") == ""
    assert cookies.read({"__Host-name": "ours"}, "name") == "ours"


def test_in_a_space_it_goes_along_in_a_frame_and_is_kept_apart() -> None:
    said = attributes(Cookies(secure=True, framed=True))
    assert {"samesite=none", "secure", "partitioned", "httponly"} <= said


@pytest.mark.parametrize("value", ["a; Domain=evil.example", 'a"b', "a\r\nSet-Cookie: x=y", "ü"])
def test_no_value_adds_an_attribute(value: str) -> None:
    rendered = Cookies(secure=True).render("name", value, 60)
    assert "\n" not in rendered
    assert "\r" not in rendered
    assert rendered.split("; ")[1:] == Cookies(secure=True).render("name", "a", 60).split("; ")[1:]
