"""Requests of `/v1`: which of Parley's own tools an answer may use."""

from typing import Any

import msgspec
import pytest

from parley.surfaces.openai.requests import extras_of
from parley.surfaces.openai.shapes import CompletionBody


@pytest.mark.parametrize(
    ("named", "stateless", "expected"),
    [
        ({}, True, ()),
        ({}, False, None),
        ({"parley_tools": ["web_search"]}, True, ("web_search",)),
        ({"parley_tools": ["web_search"]}, False, ("web_search",)),
        ({"parley_tools": []}, False, ()),
    ],
)
def test_parleys_tools_are_used_where_they_are_named(
    named: dict[str, Any], stateless: bool, expected: tuple[str, ...] | None
) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **named}
    body = msgspec.convert(asked, CompletionBody)
    assert extras_of(body, (), stateless=stateless).use_tools == expected
