"""Contract: whether the installed Chainlit still writes and asks for what this layer knows.

Chainlit adds keys in minor releases. One that is not known is kept as it comes, in `extra`, and
shown again; nobody would notice what it should have done, so a start says it.
"""

from collections.abc import Mapping

from chainlit.data.base import BaseDataLayer
from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import Feedback, FeedbackDict, Pagination, ThreadDict, ThreadFilter

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.step_dicts import KNOWN_STEP_KEYS
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_Names = Mapping[str, frozenset[str]]

_KNOWN: _Names = {
    "StepDict": KNOWN_STEP_KEYS,
    "ThreadDict": frozenset(
        [
            "id",
            "createdAt",
            "name",
            "userId",
            "userIdentifier",
            "tags",
            "metadata",
            "steps",
            "elements",
        ]
    ),
    "ElementDict": frozenset(
        [
            "id",
            "threadId",
            "type",
            "chainlitKey",
            "path",
            "url",
            "objectKey",
            "name",
            "display",
            "size",
            "language",
            "page",
            "props",
            "autoPlay",
            "playerConfig",
            "forId",
            "mime",
        ]
    ),
    "Feedback": frozenset(["forId", "value", "threadId", "id", "comment"]),
    "FeedbackDict": frozenset(["forId", "id", "value", "comment"]),
    "Pagination": frozenset(["first", "cursor"]),
    "ThreadFilter": frozenset(["feedback", "userId", "search"]),
}


def check_contract() -> None:
    """Warn of each difference between the installed Chainlit and what is known here."""
    known = {**_KNOWN, "BaseDataLayer": _methods(ChainlitLayer)}
    for name, installed in _installed().items():
        for key in sorted(installed - known[name]):
            logger.warning("Chainlit has something that is not known here", where=name, what=key)
        if name != "BaseDataLayer":  # the layer has methods of its own
            for key in sorted(known[name] - installed):
                logger.warning("Chainlit no longer has what is known here", where=name, what=key)


def _installed() -> _Names:
    contract = (
        StepDict,
        ThreadDict,
        ElementDict,
        Feedback,
        FeedbackDict,
        Pagination,
        ThreadFilter,
    )
    names = {one.__name__: frozenset(one.__annotations__) for one in contract}
    return {**names, "BaseDataLayer": _methods(BaseDataLayer)}


def _methods(layer: type) -> frozenset[str]:
    return frozenset(name for name in vars(layer) if not name.startswith("_"))
