"""Whose the present request is, and where it comes from, for code that is called without either.

Surfaces set it, `data_layer` reads it where Chainlit passes no user.
"""

from contextvars import ContextVar

from parley.chat.turns import Owner

current_owner: ContextVar[Owner | None] = ContextVar("current_owner", default=None)

# Empty where it is not known: limits count callers by it.
current_address: ContextVar[str] = ContextVar("current_address", default="")
