"""What errors say to people: the sentences that are raised, in every language."""

import ast
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from parley.auth.limits import Allowance, LimitConfig, open_limits
from parley.chat.errors import ContextTooLong, ParleyError, ProviderError, TimedOut
from parley.chat.limits import Need, Refusal, Take
from parley.chat.turns import Owner, TurnRequest
from parley.surfaces.sentences import error_text, title_text
from parley.surfaces.texts import LANGUAGES, texts_of
from providers.config import Connection
from providers.faults import fault, timed_out, unanswered
from providers.faults import refusal as refused
from tests.shape.source import PRODUCT, ROOT

# What only programs are told, or who looks at requests: no page of ours asks for it.
_FOR_PROGRAMS = {
    "parley/chat/extras.py": (
        "A message has at most ⟨⟩ tools.",
        "A tool's name",
        "T",
        "There is a",
    ),
    "parley/context/seen.py": ("There is no receipt",),  # the panel does without
    "parley/surfaces/page/choices.py": ("These are no settings.", "A model is named by its id."),
    "parley/surfaces/page/socket.py": ("Open the page first.", "sessionId must"),
    "parley/surfaces/page/asking.py": ("A message needs a UUID",),
    "parley/surfaces/page/attached.py": ("A message names its files",),
    "parley/surfaces/page/assets.py": ("There is nothing at",),
    "parley/surfaces/page/gate.py": ("There is nothing at",),
    "parley/surfaces/page/languages.py": ("A language is named",),
    "parley/surfaces/page/ratings.py": ("The value of feedback",),
    "parley/surfaces/page/uploads.py": ("⟨⟩ is not possible", "Send ", "The form cannot be read."),
}
GERMAN = texts_of("de")
OWNER = Owner("8e8c9b5e-7d52-4a37-9d3e-0d6d7f0f2f11", "github:1")
REQUEST = TurnRequest(OWNER, "8e8c9b5e-7d52-4a37-9d3e-0d6d7f0f2f12", "hi")
HOUSE = Connection("house", "http://house/v1", model_setting="HOUSE_MODEL")
PHASES = ("connect", "first_event", "idle", "total")


class Refusing:
    """Counters of which nothing is left."""

    def __init__(self, retry_after_s: float) -> None:
        self._retry_after_s = retry_after_s

    async def take(self, key: str | None, takes: Sequence[Take]) -> Refusal | None:
        return Refusal(takes[0], self._retry_after_s)

    async def settle(self, key: str, tokens: int | None) -> None:
        raise NotImplementedError

    async def reserve(self, key: str, need: Need) -> int | Refusal:
        raise NotImplementedError


def tree(error: type[ParleyError]) -> Iterator[type[ParleyError]]:
    yield error
    for below in error.__subclasses__():
        yield from tree(below)


FAULTS = [kind for kind in ProviderError.__subclasses__() if kind is not TimedOut]


@cache
def sentences(path: Path) -> tuple[list[str], list[str]]:
    """What a file raises errors with, and all the text in it; ⟨⟩ for what is filled in."""
    module = ast.parse(path.read_text())
    named = {
        target.id: said
        for node in module.body
        if isinstance(node, ast.Assign) and (said := _text(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    classes = {error.__name__ for error in tree(ParleyError)}
    first = [
        node.args[0]
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in classes and node.args
    ]
    raised = [_text(one) or named.get(getattr(one, "id", ""), "") for one in first]
    return list(filter(None, raised)), [said for node in ast.walk(module) if (said := _text(node))]


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or "⟨⟩" for value in values)
    return ""


async def refusals() -> list[str]:
    """Every refusal of limits."""
    kinds = ("turns_a_minute", "running_turns", "tokens_a_day")
    every = itertools.product((12.0, 10_000.0), kinds, ("user", "everyone"))
    return [await refusal(*one) for one in every]


async def refusal(retry_after_s: float, kind: str, who: str) -> str:
    allowance = Allowance(**{kind: 5})
    config = LimitConfig(user=allowance) if who == "user" else LimitConfig(everyone=allowance)
    async with open_limits(config, Refusing(retry_after_s)) as limits:
        refused = await limits.admit("turn", REQUEST)
        assert refused
        return refused.message


def provider_faults() -> list[str]:
    """Every error of a model server, bare and with all that it can say."""
    bare = [fault(kind, HOUSE).message for kind in FAULTS]
    said = [fault(kind, HOUSE, "the server's own words", status=418).message for kind in FAULTS]
    late = [*(timed_out(HOUSE, phase).message for phase in PHASES), unanswered(HOUSE, 2).message]
    understood = refused(HOUSE, 400, {}, b'{"error": "the server\'s own words"}').message
    unkeyed = refused(HOUSE, 401, {}, b'"the server\'s own words"', keyed=False).message
    return [*bare, *said, *late, understood, unkeyed]


def test_every_code_has_a_text() -> None:
    assert texts_of("en").codes.keys() == {error.code for error in tree(ParleyError)}


@pytest.mark.parametrize("folder", ["parley/chat", "parley/context", "parley/surfaces/page"])
def test_what_the_page_can_be_told_is_translated(folder: str) -> None:
    missing = [
        f"{name}: {said}"
        for path in sorted((ROOT / folder).glob("*.py"))
        for name in [path.relative_to(ROOT).as_posix()]
        for said in sentences(path)[0]
        if not said.startswith(_FOR_PROGRAMS.get(name, "\0")) and error_text(GERMAN, said) == said
    ]
    assert not missing, "each needs a line in every file of parley/surfaces/languages"


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.anyio
async def test_a_model_server_and_limits_are_told_of_in_every_language(language: str) -> None:
    texts = texts_of(language)
    for message in [*provider_faults(), *await refusals()]:
        said = error_text(texts, message)
        assert said != message
        assert ("the server's own words" in said) == ("the server's own words" in message)
        assert not set("{}[]") & set(said)


@pytest.mark.anyio
async def test_every_sentence_is_one_that_is_raised() -> None:
    files = [path for part in PRODUCT for path in (ROOT / part).rglob("*.py")]
    written = {said for path in files for said in sentences(path)[1]}
    written |= {f"{name} {said}" for name in ("The Hub", "⟨⟩") for said in written}
    told = [*written, *provider_faults(), *await refusals()]
    keys = replace(GERMAN, errors={key: f"\1{key}\1" for key in GERMAN.errors})
    found = {
        said.split("\1")[1] for said in (error_text(keys, one) for one in told) if "\1" in said
    }
    assert GERMAN.errors.keys() - found == set()


def test_what_is_not_known_is_said_in_general_and_in_english() -> None:
    said = error_text(GERMAN, "The cat sat on it.", "invalid_request")
    assert said == "Die Anfrage passt so nicht.\n\nThe cat sat on it."
    assert error_text(texts_of("en"), "The cat sat on it.", "internal") == "The cat sat on it."
    assert error_text(GERMAN, "", "internal") == "Hier ist etwas schiefgegangen."
    assert error_text(GERMAN, "x" * 100_000) == "x" * 100_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_failure_of_an_attempt_has_words(language: str) -> None:
    kinds = {kind.__name__ for kind in (ContextTooLong, ProviderError, *_kinds_of(ProviderError))}
    assert texts_of(language).kinds.keys() == kinds


def _kinds_of(error: type[ProviderError]) -> Iterator[type[ProviderError]]:
    for kind in error.__subclasses__():
        if kind.__module__ == ProviderError.__module__:
            yield kind
            yield from _kinds_of(kind)


def test_what_was_tried_before_is_said_too() -> None:
    message = (
        f"{fault(FAULTS[0], HOUSE).message} Tried before it: a:b (TimedOut), c:d (Unreachable)."
    )
    said = error_text(GERMAN, message)
    assert said.startswith("house ist nicht erreichbar")
    assert said.endswith("Vorher versucht: a:b (Zeit abgelaufen), c:d (Server nicht erreicht).")


def test_words_of_ours_inside_a_sentence_are_said_too() -> None:
    said = error_text(GERMAN, "house does not accept the key. Check the provider's key.")
    assert said == "house akzeptiert den Schlüssel nicht. Prüfe den Schlüssel des Anbieters."


def test_what_a_tool_does_is_said() -> None:
    said = title_text(GERMAN, "web_search: Searching the web for “a: b”")
    assert said == "web_search: Sucht im Web nach „a: b“"
    assert title_text(GERMAN, "my_tool") == "my_tool"
    assert title_text(GERMAN, "my_tool: Doing what it does") == "my_tool: Doing what it does"


@pytest.mark.parametrize("table", ["phrases", "parts"])
def test_every_phrase_is_one_that_is_said(table: str) -> None:
    files = [path for part in PRODUCT for path in (ROOT / part).rglob("*.py")]
    written = {said for path in files for said in sentences(path)[1]}
    phrases = getattr(texts_of("en"), table).values()
    fits = {re.compile(re.sub(r"\\{\w+\\}", "(⟨⟩|{.+})", re.escape(phrase))) for phrase in phrases}
    assert not [fit for fit in fits if not any(map(fit.fullmatch, written))]


@given(
    key=st.sampled_from(sorted(texts_of("en").errors)),
    value=st.text(st.sampled_from("ab./()'-"), min_size=1, max_size=12),
    is_whole=st.booleans(),
)
def test_a_sentence_is_known_whatever_it_is_filled_in_with(
    key: str, value: str, is_whole: bool
) -> None:
    sentence = texts_of("en").errors[key]
    form = re.sub(r"\[(.*?)\]", r"\1" if is_whole else "", sentence)
    message = re.sub(r"\{\w+\}", lambda _: f"<{value}>", form)
    said = error_text(GERMAN, message)
    assert said != message
    shown = re.sub(r"\[(.*?)\]", r"\1" if is_whole else "", GERMAN.errors[key])
    assert said.count(f"<{value}>") == len(re.findall(r"\{\w+\}", shown))


@pytest.mark.parametrize(
    "piece",
    [
        " does not accept the request (1): . Check  and ",
        " cannot be kept in : ",
        "a failed: b. (c) failed: ",
        " Tried before it: ",
    ],
)
def test_words_of_sentences_again_and_again_are_read_once(piece: str) -> None:
    """The first took twelve seconds, when a sentence was looked for at every place."""
    began = time.process_time()
    error_text(GERMAN, (piece * 4000)[:4000])
    assert time.process_time() - began < 2


def test_what_a_server_said_ends_where_the_sentence_goes_on_for_the_last_time() -> None:
    said = fault(FAULTS[0], HOUSE, "Bad. Check docs. Check it").message
    assert "Bad. Check docs. Check it. Prüfe" in error_text(GERMAN, said)
