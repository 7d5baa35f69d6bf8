"""Migrations are one line: two that were made side by side would each be right, and a start migrate to one of them."""

import re

from tests.shape.source import ROOT

FILES = sorted((ROOT / "data_layer" / "migrations" / "versions").glob("*.py"))


def test_each_migration_follows_the_one_before() -> None:
    said = [
        re.findall(r'^(?:down_)?revision = (?:"(\d+)"|None)', file.read_text(), re.MULTILINE)
        for file in FILES
    ]
    numbers = [f"{number:04}" for number in range(1, len(FILES) + 1)]
    assert [file.name[:4] for file in FILES] == numbers
    assert said == [list(pair) for pair in zip(numbers, ["", *numbers], strict=False)]
