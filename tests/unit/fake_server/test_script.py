"""Scripts say what is answered, and a mistake in one is told with its line and the mend."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.fake_server.script import ScriptError, parse_script, read_script, words

REPLIES = """model = "m"

[[reply]]
text = "a"

[[reply]]
"""
MISTAKES = {
    "no TOML": ('text = "', "line 1: this is not TOML: Unterminated"),
    "no TOML in the middle": ("a = 1\nb = = 2\n", "line 2, column 5: this is not TOML"),
    "unknown name": (REPLIES + 'txet = "b"', "line 7: there is no 'txet': did you mean 'text'?"),
    "unknown at the top": ("modle = 'm'", "line 1: there is no 'modle': did you mean 'model'?"),
    "unknown in a fault": (REPLIES + 'faults = [{ kid = "cut" }]', "line 7: there is no 'kid': did you mean 'kind'?"),
    "unknown in the wire": (REPLIES + "[reply.wire]\nbomb = true", "line 8: there is no 'bomb': did you mean 'bom'?"),
    "unknown fault": (REPLIES + 'faults = [{ kind = "boom" }]', "line 7: kind: Invalid enum value 'boom'"),
    "no number": (REPLIES + 'status = "429"', "line 7: status: Expected `int`, got `str`"),
    "no such status": (REPLIES + "status = 7", "line 7: status: Expected `int` >= 200"),
    "fault without a kind": (REPLIES + "faults = [{ after = 1 }]", "line 7: faults: Object missing required field `kind`"),
    "no pattern": (REPLIES + 'when = "("', "line 7: when: this is no pattern"),
    "both": (REPLIES + 'text = "a"\nchunks = ["b"]', "line 8: chunks: give either text or chunks"),
    "fault beyond the end": (REPLIES + 'text = "a b"\nfaults = [{ kind = "cut", after = 3 }]', "line 8: after: the answer has 2 pieces"),
    "header in two lines": (REPLIES + 'headers = { X = "a\\nb" }', "line 7: headers: X is not a header"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(text)
    assert said in str(caught.value)


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="cannot be read: No such file"):
        read_script(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_bytes(b"\xff")
    with pytest.raises(ScriptError, match="not UTF-8"):
        read_script(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("reply = 3")
    with pytest.raises(ScriptError, match=r"a\.toml, line 1: reply: Expected `array`"):
        read_script(tmp_path / "a.toml")


@given(st.text())
def test_words_are_the_whole_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert all(words(text)) or not text


@given(st.text())
def test_any_text_is_a_script_or_a_mistake(text: str) -> None:
    assert _mistake(text).startswith(("line ", "none"))


def _mistake(text: str) -> str:
    try:
        parse_script(text)
    except ScriptError as error:
        return str(error)
    return "none"


def test_script_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "fake-server.md").read_text()
    script = parse_script(text.split("```toml\n")[1].split("```")[0])
    assert len(script.reply) == 4
