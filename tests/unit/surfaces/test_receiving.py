"""What the page is told of what it sends."""

import pytest

from parley.surfaces.page.receiving import named_in

NAMED = {"id": "a"}


@pytest.mark.parametrize(
    ("event", "said", "named"),
    [
        ("client_message", [{"message": NAMED}], NAMED),
        ("client_message", [{}], None),
        ("client_message", [None, NAMED], None),
        ("client_message", [], None),
        ("edit_message", [NAMED], NAMED),
        ("chat_settings_change", [{}, NAMED], NAMED),
        ("chat_settings_change", [NAMED], None),
        ("stop", [NAMED], None),
    ],
)
def test_id_is_where_the_event_has_it(event: str, said: list[object], named: object) -> None:
    assert named_in(event, said) is named
