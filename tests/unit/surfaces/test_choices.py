"""Choices: what a page says of model, prompt, warmth and tools, kept with the thread."""

import pytest

from parley.chat.errors import InvalidRequest
from parley.chat.models import Health, HealthState, ModelInfo
from parley.surfaces.page.choices import Choice, model_options
from parley.surfaces.texts import texts_of


def test_tools_are_switched_off_and_on() -> None:
    off = Choice().with_settings({"tools": False})
    assert (off.tools, off.forbidden, off.kept["tools"]) == ((), (), [])
    assert Choice.of_thread(off.kept) == off
    on = off.with_settings({"tools": True})
    assert (on.tools, on.forbidden, on.kept["tools"]) == (None, None, None)
    assert on.settings["tools"] is True


@pytest.mark.parametrize("switch", [True, None, "nonsense"])
def test_tools_that_a_thread_names_are_kept(switch: object) -> None:
    named = Choice.of_thread({"tools": ["web_search", 1]})
    assert named.with_settings({"tools": switch}).kept["tools"] == ["web_search"]
    assert named.forbidden is None  # the thread itself says it


def test_thread_without_a_word_leaves_tools_to_the_configuration() -> None:
    for metadata in ({}, {"tools": None}, {"tools": "web_search"}):
        assert Choice.of_thread(metadata).tools is None


def test_the_picker_says_that_a_model_is_away_and_not_where() -> None:
    info = ModelInfo("a", "openai", "m", "A")
    down = Health(HealthState.DOWN, "openai cannot be reached.", "openai at 10.0.0.7:80 cannot.")
    (option,) = model_options([info], {"a": down}, None, texts_of("en"))
    assert (option.description, option.icon) == ("openai · not available", "triangle-alert")


def test_a_wrong_temperature_is_left_out_alone() -> None:
    before = Choice(system_prompt="old", temperature=0.5)
    sent = {"system_prompt": "new", "temperature": "warm", "tools": True}
    assert before.with_what_fits(sent) == Choice(system_prompt="new", temperature=0.5)
    for wrong in ("nothing", {**sent, "system_prompt": 7}):
        with pytest.raises(InvalidRequest):
            before.with_what_fits(wrong)
