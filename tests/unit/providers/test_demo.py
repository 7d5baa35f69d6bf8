"""The demo provider never passes for a model."""

from dataclasses import replace

import pytest

from parley.chat.deltas import Finish, FinishReason, Text
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, HealthState
from parley.chat.ports import Provider
from parley.surfaces.texts import LANGUAGES
from providers.demo import DemoProvider, answer_to
from providers.demo_answers import ANSWERS
from tests.unit.providers.support import outcome_of

LABEL = "Demo provider: no model is connected."


def asked(*texts: str) -> CompletionRequest:
    return CompletionRequest("echo", tuple(Message.of(Role.USER, text) for text in texts))


async def test_answer_comes_word_by_word() -> None:
    demo: Provider = DemoProvider(pause_s=0)
    outcome = await outcome_of(demo, asked("Who are you?"))
    await demo.aclose()
    *words, end = outcome.deltas
    assert all(isinstance(word, Text) and len(word.text.split()) <= 1 for word in words)
    assert outcome.text == answer_to(asked("Who are you?"))
    assert end == Finish(FinishReason.STOP, "demo"), "and no usage: nothing was generated"


@pytest.mark.parametrize(
    "texts", [(), ("",), ("Hi",), ("First?", "{question}\n# ```"), ("x" * 9999,)]
)
def test_every_answer_says_what_it_is(texts: tuple[str, ...]) -> None:
    answer = answer_to(asked(*texts))
    assert answer.startswith(LABEL)
    for way in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TGI_BASE_URL", "Ollama", "models pull"):
        assert way in answer
    assert len(answer) < 1500


def test_question_is_quoted() -> None:
    assert "\n> {question}\n> # ```\n" in answer_to(asked("First?", "{question}\n# ```"))
    assert "First?" not in answer_to(asked("First?", "Second?"))
    assert "> (nothing)" in answer_to(asked())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_demo_speaks_the_readers_language(language: str) -> None:
    answer = answer_to(replace(asked("{question}"), language=language))
    assert "\n> {question}\n" in answer
    assert (LABEL in answer) == (language == "en")
    for way in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TGI_BASE_URL", "Ollama", "models pull"):
        assert way in answer


def test_the_demo_speaks_the_languages_of_the_page() -> None:
    assert set(ANSWERS) == set(LANGUAGES)
    assert len({one.answer for one in ANSWERS.values()}) == len(LANGUAGES)


async def test_catalogue_says_that_it_is_no_model() -> None:
    demo = DemoProvider()
    (model,) = await demo.models()
    assert (model.id, model.capabilities.is_model) == ("demo:echo", False)
    assert (await demo.health()).state is HealthState.DEGRADED
