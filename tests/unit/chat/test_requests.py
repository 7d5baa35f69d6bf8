"""What a surface asks for, made into a turn."""

import pytest

from parley.chat.requests import thread_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\n b", "a b"),
        ("x" * 130, "x" * 120 + "…"),
        ("word " * 40, "word " * 23 + "word…"),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_name_is_one_line_cut_at_a_word(text: str, name: str) -> None:
    assert thread_name(text) == name
