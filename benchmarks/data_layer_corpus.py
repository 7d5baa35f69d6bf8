"""Corpus: the same threads and messages for every layer under measurement, the same in every run."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from random import Random
from uuid import UUID

THREADS, MESSAGES_EACH = 2_000, 50
MANY_THREADS = 100_000
LONG_THREAD = 5_000
CHARS = 500

# Words that no sentence of the vocabulary has, and what a user types to find them.
RARE, COMMON, PREFIX = "quixotry", "invoice", "zymo"
RARE_MESSAGES = 10
_COMMON_SHARE, _PREFIXED_SHARE = 0.5, 0.01
_PREFIXED = ("zymology", "zymotic", "zymogens")

_SEED = 4
_SYLLABLES = tuple(first + vowel for first in "bdfgklmnprstv" for vowel in "aeiou")
_BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """A user's when `position` is even, else the answer to the one before."""

    id: str
    position: int
    text: str
    created_at: datetime

    @property
    def is_answer(self) -> bool:
        """Whether a model said it."""
        return self.position % 2 == 1


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread and all that was said in it."""

    id: str
    name: str
    messages: tuple[Message, ...]
    last_active_at: datetime


def threads() -> Iterator[Thread]:
    """Make the threads of one user, oldest first: 100,000 messages."""
    random = Random(_SEED)
    for number in range(THREADS):
        yield _thread(random, number, MESSAGES_EACH)


def many_threads() -> Iterator[Thread]:
    """Make the threads of a user of many: a page must not show how many there are."""
    random = Random(_SEED + 1)
    for number in range(MANY_THREADS):
        yield _thread(random, number, 0)


def long_thread() -> Thread:
    """Make the one that nobody should have to wait for."""
    return _thread(Random(_SEED + 2), 0, LONG_THREAD)


def _thread(random: Random, number: int, messages: int) -> Thread:
    began_at = _BEGAN_AT + timedelta(minutes=number)
    said = tuple(
        Message(
            new_id(random),
            position,
            _text(random, number * MESSAGES_EACH + position),
            began_at + timedelta(milliseconds=position),
        )
        for position in range(messages)
    )
    return Thread(new_id(random), f"Thread {number}", said, began_at + timedelta(seconds=50))


def new_id(random: Random) -> str:
    """Give the next UUID of a repeatable row."""
    return str(UUID(int=random.getrandbits(128), version=4))


def _text(random: Random, number: int) -> str:
    words = [*random.choices(_sentences(), k=6)]
    if number % (THREADS * MESSAGES_EACH // RARE_MESSAGES) == 0:
        words.insert(0, RARE)
    if random.random() < _COMMON_SHARE:
        words.insert(0, COMMON)
    if random.random() < _PREFIXED_SHARE:
        words.insert(0, random.choice(_PREFIXED))
    return " ".join(words)[:CHARS]


@cache
def _sentences() -> tuple[str, ...]:
    """Sentences whose words are as unevenly frequent as a language's (Zipf)."""
    random = Random(_SEED)
    words = ["".join(random.choices(_SYLLABLES, k=random.randint(1, 5))) for _ in range(20_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    return tuple(" ".join(random.choices(words, cum_weights=weights, k=14)) for _ in range(5_000))
