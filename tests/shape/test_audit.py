"""The words of the audit log are a promise: the page that explains them has each, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_word_of_the_audit_log_is_explained() -> None:
    sources = [p for part in ("parley", "data_layer") for p in (ROOT / part).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    written = set(re.findall(r"\b_?audit\(\s*\"(\w+)\"", code))
    page = (ROOT / "docs" / "identity.md").read_text().partition("## Audit log")[2]
    explained = {
        word
        for row in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
        for word in re.findall(r"`(\w+)`", row)
    }
    assert written == explained
