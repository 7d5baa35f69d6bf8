"""Encodings: OpenAI's own tokenizers, in this process and without a network.

Which library counts, and why it is loaded at the start: docs/decisions/0006-tokenizers.md.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import toktok  # type: ignore[import-untyped]  # has no stubs

from parley.observability.logs import get_logger

logger = get_logger(__name__)

# Up to here a count is not worth a thread: less than a millisecond for the slowest text.
_INLINE_BYTES = 2048
# What is longer is not counted at all: 1 MB of random bytes takes 0.3 s.
_MOST_CHARS = 4 * 2**20
_DEADLINE_S = 0.5

# By the beginning of the name, the first that fits.
_ENCODINGS = (
    *((name, "o200k_base") for name in ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss")),
    *((name, "o200k_base") for name in ("chatgpt", "o1", "o3", "o4")),
    *((name, "cl100k_base") for name in ("gpt-4", "gpt-3.5", "gpt-35")),
)
_THREAD = ThreadPoolExecutor(1, "tokens")
_loaded: set[str] = set()


def encoding_of(model: str) -> str | None:
    """Name the encoding of a model of OpenAI's, also behind a gateway or tuned; else None.

    A generation that this does not know is None and not a guess: it may have other tokens.
    """
    name = model.lower().rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    for beginning, encoding in _ENCODINGS:
        rest = name.removeprefix(beginning)
        if rest != name and (not rest or rest[0] == "-" or (beginning, rest[0]) == ("gpt-5", ".")):
            return encoding
    return None


async def load_encoding(model: str) -> None:
    """Load the encoding of a model, if it has one: half a second in which no Python runs.

    For the start, before anything is served: where it was not loaded, nothing is counted.
    """
    encoding = encoding_of(model)
    if encoding is not None:
        await asyncio.get_running_loop().run_in_executor(_THREAD, _counted, [""], encoding)


class EncodingTokenizer:
    """A `Tokenizer` that counts with one encoding; large texts in a thread."""

    def __init__(self, encoding: str) -> None:
        self.name = encoding

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:  # noqa: D102 - see the port
        chars = sum(map(len, texts))
        if chars > _MOST_CHARS or self.name not in _loaded:
            return None
        if chars <= _INLINE_BYTES and sum(map(_bytes, texts)) <= _INLINE_BYTES:
            return _counted(texts, self.name)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await loop.run_in_executor(_THREAD, _counted, texts, self.name)
        except TimeoutError:
            return None


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _counted(texts: Sequence[str], encoding: str) -> list[int] | None:
    """Count here; the library lets other threads run meanwhile, all but while it loads."""
    try:
        try:
            counts: list[int] = toktok.batch_count(texts, encoding, threads=1)
        except UnicodeEncodeError:
            valid = [text.encode("utf-8", "replace").decode() for text in texts]
            counts = toktok.batch_count(valid, encoding, threads=1)
    except BaseException as exc:  # noqa: BLE001 - a panic of Rust's is no Exception, and no turn ends for a count
        logger.warning("tokens not counted", encoding=encoding, error=type(exc).__name__)
        return None
    _loaded.add(encoding)
    return counts
