"""Start: one that fails says why in one line, and the process ends with a code that tells it."""

import sys

from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXIT_CODE = "exit_code"


def cannot_start(state: State, why: str, exit_code: int) -> None:
    """Say why, and note the code in the app's state; whoever calls raises its error again."""
    sys.stderr.write(f"Parley cannot start: {why}\n")
    setattr(state, EXIT_CODE, exit_code)


class ExplainedStart:
    """ASGI middleware: a start whose failure was explained has no traceback in the log.

    The code goes to the server's side of the lifespan state, where parley/cli.py finds it.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Watch the start of `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, a failed start without Starlette's traceback."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_explained(message: Message) -> None:
            exit_code = getattr(scope["app"].state, EXIT_CODE, None)
            if message["type"] == "lifespan.startup.failed" and exit_code is not None:
                scope["state"][EXIT_CODE] = exit_code
                message = {"type": message["type"], "message": ""}
            await send(message)

        await self._app(scope, receive, send_explained)
