"""The owner of the present request, for code that is called without one.

Surfaces set it, `data_layer` reads it where Chainlit passes no user.
"""

from contextvars import ContextVar

from parley.chat.turns import Owner

current_owner: ContextVar[Owner | None] = ContextVar("current_owner", default=None)
