"""Sampling: how an answer is drawn, put together from what a request says and what it leaves open."""

from parley.chat.models import Sampling


def drawn(asked: Sampling, defaults: Sampling) -> Sampling:
    """Give what is asked, and the defaults for what is not."""
    return asked.or_else(defaults)
