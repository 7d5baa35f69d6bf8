"""Keys: one secret, and no two uses of it share a key."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from parley.auth.keys import Secret

SECRET = Secret("s" * 32)
NAMES = st.lists(st.text(max_size=4), max_size=3)


def test_each_use_has_its_own_key() -> None:
    assert SECRET.derive("cookie") != SECRET.derive("seal")
    assert SECRET.derive("cookie") == SECRET.derive("cookie")


def test_the_signing_key_is_the_last() -> None:
    rotated = Secret("new", previous="old")
    assert rotated.derive("x") == [*Secret("old").derive("x"), *Secret("new").derive("x")]


def test_an_empty_previous_secret_is_none() -> None:
    """An empty setting must not become a key that anyone has."""
    assert Secret("new", previous="").derive("x") == Secret("new").derive("x")


def test_a_secret_does_not_show_itself() -> None:
    assert "hidden" not in repr(Secret("hidden", previous="hidden too"))


@given(NAMES, NAMES)
def test_names_do_not_run_together(one: list[str], other: list[str]) -> None:
    """("ab", "c") and ("a", "bc") are different names."""
    same = SECRET.keyed_uuid("use", *one) == SECRET.keyed_uuid("use", *other)
    assert same == (one == other)


def test_keyed_ids_are_uuids_of_their_use_and_secret() -> None:
    made = SECRET.keyed_uuid("use", "a")
    assert str(UUID(made)) == made
    assert made != SECRET.keyed_uuid("other use", "a")
    assert made != Secret("t" * 32).keyed_uuid("use", "a")
