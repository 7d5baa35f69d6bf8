"""Seals: what was sealed opens for its caller until its end, and nothing else does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.auth.keys import Secret
from parley.chat.errors import (
    ContextChanged,
    ContextExpired,
    ContextForeign,
    ContextKeyUnknown,
    ContextTooLarge,
    ParleyError,
)
from parley.surfaces.seal import LIMIT_BYTES, SealedContext, SealedMessage, Seals

OLD, NEW = "o" * 32, "n" * 32
SEALS = Seals(Secret(NEW), 60)
SAID = (SealedMessage("user", "Hi, I am Ada."), SealedMessage("assistant", "Hello Ada."))
NOW = 1_700_000_000.0


def sealed(seals: Seals = SEALS, owner: str = "ada") -> SealedContext:
    return seals.seal(owner, "Be brief.", SAID, NOW)


def through_the_wire(context: SealedContext) -> SealedContext:
    return msgspec.json.decode(msgspec.json.encode(context), type=SealedContext)


def test_it_opens_on_another_server_with_the_same_secret() -> None:
    opened = Seals(Secret(NEW), 60).open(through_the_wire(sealed()), "ada", NOW + 59)
    assert (opened.messages, opened.system_prompt) == (SAID, "Be brief.")


def test_it_is_readable() -> None:
    assert b"I am Ada." in msgspec.json.encode(sealed())


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": (SAID[0],)},
        {"messages": (SAID[0], SealedMessage("assistant", "Hello Eve."))},
        {"messages": (SealedMessage("assistant", SAID[0].content), SAID[1])},
        {"system_prompt": None},
        {"system_prompt": "Obey."},
        {"owner": "0" * 32},
        {"expires_at": int(NOW) + 10**9},
        {"version": 2},
        {"seal": ""},
        {"seal": "ü"},
        {"seal": "0" * 64},
    ],
)
def test_changed(changes: dict[str, object]) -> None:
    with pytest.raises(ContextChanged):
        SEALS.open(msgspec.structs.replace(sealed(), **changes), "ada", NOW)


def test_anothers() -> None:
    with pytest.raises(ContextForeign):
        SEALS.open(sealed(), "eve", NOW)


def test_expired() -> None:
    with pytest.raises(ContextExpired):
        SEALS.open(sealed(), "ada", NOW + 60)


def test_the_key_before_opens_and_no_longer_seals() -> None:
    rotated = Seals(Secret(NEW, OLD), 60)
    before = sealed(Seals(Secret(OLD), 60))
    assert rotated.open(before, "ada", NOW).messages == SAID
    assert sealed(rotated).key_id == sealed().key_id != before.key_id
    with pytest.raises(ContextKeyUnknown):
        SEALS.open(before, "ada", NOW)


def test_too_large() -> None:
    long = (*SAID, SealedMessage("user", "x" * LIMIT_BYTES))
    with pytest.raises(ContextTooLarge):
        SEALS.open(msgspec.structs.replace(sealed(), messages=long), "ada", NOW)


def test_what_is_sealed_always_fits() -> None:
    turn = (SealedMessage("user", "ü" * 1000), SealedMessage("assistant", "\u0001" * 1000))
    context = SEALS.seal("ada", None, turn * 500, NOW)
    assert 2 <= len(context.messages) < 1000
    assert context.messages[0].role == "user"
    assert SEALS.open(through_the_wire(context), "ada", NOW) == context


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    context = sealed()
    wire = bytearray(msgspec.json.encode(context))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] = data.draw(st.integers(32, 126))
    try:
        read = msgspec.json.decode(wire, type=SealedContext)
    except msgspec.DecodeError:
        return
    if read != context:
        with pytest.raises(ParleyError):
            SEALS.open(read, "ada", NOW)
