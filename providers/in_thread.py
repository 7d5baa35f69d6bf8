"""In a thread: a plain function, whose pieces an event loop reads as they come."""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import copy_context

# Pieces that a thread may be ahead of its reader.
_AHEAD = 64


class InThread:
    """Runs a plain function in a thread, and its generator to the end or until it is abandoned.

    Not the loop's pool: its threads are waited for when the process ends, and this one may hang.
    """

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        """Run `call` for the provider `name`; nothing runs yet."""
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self._ahead = threading.Semaphore(_AHEAD)
        self._abandoned = threading.Event()
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=f"provider {name}", daemon=True
        )

    async def pieces(self) -> AsyncGenerator[object]:
        """Start the thread and give its pieces."""
        self._thread.start()
        try:
            while not isinstance(piece := await self._queue.get(), _End):
                self._ahead.release()
                yield piece
            if piece.error is not None:
                raise piece.error
        finally:
            self._abandoned.set()
            self._ahead.release()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            said = self._call()
            for piece in pieces_of(said):
                self._ahead.acquire()
                if self._abandoned.is_set() or not self._put(piece):
                    break
            if inspect.isgenerator(said):
                said.close()
        except Exception as exc:  # noqa: BLE001 - it is raised again where the pieces are read
            error = exc
        if not self._abandoned.is_set():
            self._put(_End(error))

    def _put(self, piece: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, piece)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return False
        return True


class _End:
    """The end of a thread, and what it raised."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


def pieces_of(said: object) -> Iterable[object]:
    """Give what a plain function said piece by piece: text is one, and nothing is none."""
    if said is None:
        return ()
    if isinstance(said, str) or not isinstance(said, Iterable):
        return (said,)
    return said
