"""Inline: which scripts and styles inside a document a browser may use, by their digests."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Literal


def digests(html: str, tag: Literal["script", "style"]) -> list[str]:
    """Give the digest of each that has its text inside, as a Content-Security-Policy writes it."""
    inside = re.compile(rf"<{tag}(?![^>]*\bsrc=)[^>]*>(.*?)</{tag}>", re.DOTALL)
    return [
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for text in inside.findall(html)
    ]
