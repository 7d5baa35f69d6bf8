"""Development: the same page and routes under ``chainlit run app.py -w``.

Chainlit's command line serves its own app and knows nothing of ours. There every request goes
through ours first, which has Chainlit's mounted at ``/`` as ever; the second time round it is let
through. When a file is saved, hooks.py runs again (the mount made it Chainlit's target) and what
`reloaded` does; engine, turns and sockets stay as they are.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from chainlit.config import config
from chainlit.server import app as chainlit_app
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

_INSIDE = "parley.inside"
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


class Outside:
    """ASGI middleware around Chainlit's app: what comes from outside goes to ours first."""

    def __init__(self, app: ASGIApp, ours: ASGIApp) -> None:
        """Stand before `app`, Chainlit's, and lead to `ours`."""
        self._app = app
        self._ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead each request round once."""
        if scope["type"] == "lifespan" or scope.get(_INSIDE):
            await self._app(scope, receive, send)
        else:
            await self._ours({**scope, _INSIDE: True}, receive, send)


def serve_under_chainlit(app: Starlette, lifespan: Lifespan, reloaded: Callable[[], None]) -> None:
    """Have Chainlit's server open and serve `app`; `reloaded` is called after a file was saved."""
    stack = AsyncExitStack()

    async def start() -> None:
        # It runs already; what mounts the page adds to it.
        chainlit_app.middleware_stack = None
        await stack.enter_async_context(lifespan(app))
        chainlit_app.user_middleware.insert(0, Middleware(Outside, ours=app))
        configure = chainlit_app.state.configure

        def configure_again() -> None:
            configure()
            set_hooks()
            reloaded()

        chainlit_app.state.configure = configure_again
        set_hooks()

    def set_hooks() -> None:
        # By hand, not by Chainlit's decorators: those swallow what goes wrong at a start.
        config.code.on_app_startup = start
        config.code.on_app_shutdown = stack.aclose
        config.code.on_message = _never_called

    set_hooks()


async def _never_called(*_: object) -> None:
    """Be the hook that Chainlit's command line insists on; messages come through socket.py."""
