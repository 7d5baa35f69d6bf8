"""The tree of errors, and the drawing of it at the top of its module."""

import re

from parley.chat import errors
from parley.chat.errors import ParleyError, ProviderError, TimedOut


def _tree(root: type[ParleyError]) -> list[type[ParleyError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def test_drawing_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+) +(\d+) (\w+) *(retryable)?", errors.__doc__ or "")
    ours = {
        (
            kind.__name__,
            str(kind.status),
            kind.code,
            "retryable" if issubclass(kind, ProviderError) and kind.retryable else "",
        )
        for kind in _tree(ParleyError)[1:]
        if kind.__module__ == errors.__name__
    }
    assert set(drawn) == ours


def test_timeout_names_its_phase() -> None:
    error = TimedOut("The model was silent.", phase="idle", provider="p")
    assert (error.phase, error.provider, error.retryable) == ("idle", "p", True)
