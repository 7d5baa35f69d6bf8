"""Histories for the tests of context."""

from uuid import uuid4

from hypothesis import strategies as st

from parley.chat.turns import Exchange


def exchange(user: str = "question", answer: str = "answer") -> Exchange:
    return Exchange(str(uuid4()), user, answer)


WORDS = st.text(max_size=40)
EXCHANGES = st.builds(Exchange, st.uuids().map(str), WORDS, WORDS)
HISTORIES = st.lists(EXCHANGES, max_size=12)
