"""Seals: what was sealed comes back, and nothing else does."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from parley.auth.keys import Secret
from parley.auth.seals import Seals

OLD, NEW = Secret("o" * 32), Secret("n" * 32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SEALS = Seals(NEW, "use")


@given(TEXTS)
def test_what_was_sealed_comes_back(text: str) -> None:
    sealed = SEALS.seal(text)
    assert SEALS.open(sealed) == text
    assert SEALS.seal(text) != sealed, "no two are alike"


def test_nothing_of_it_is_seen() -> None:
    assert b"hf_oauth_secret" not in urlsafe_b64decode(SEALS.seal("hf_oauth_secret"))


@given(TEXTS, st.integers(0, 10_000), st.integers(1, 255))
def test_one_byte_that_was_changed_opens_nothing(text: str, place: int, change: int) -> None:
    sealed = bytearray(urlsafe_b64decode(SEALS.seal(text)))
    sealed[place % len(sealed)] ^= change
    assert SEALS.open(urlsafe_b64encode(sealed).decode()) is None


@given(st.text(max_size=200))
def test_what_nobody_sealed_opens_nothing(made_up: str) -> None:
    assert SEALS.open(made_up) is None


def test_each_use_and_each_secret_has_its_own() -> None:
    sealed = SEALS.seal("text")
    assert Seals(NEW, "another use").open(sealed) is None
    assert Seals(OLD, "use").open(sealed) is None


def test_the_secret_before_opens_and_seals_no_more() -> None:
    before, rotated = Seals(OLD, "use"), Seals(Secret(NEW.current, OLD.current), "use")
    assert rotated.open(before.seal("text")) == "text"
    assert before.open(rotated.seal("text")) is None
    assert SEALS.open(rotated.seal("text")) == "text"
