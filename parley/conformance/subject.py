"""The subject: a server under test, and what is known of it so far."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from parley.conformance.questions import Questions
from parley.conformance.reading import Reading, read
from parley.conformance.report import Finding
from parley.conformance.wire import Wire


@dataclass(slots=True)
class Subject:
    """The server under test, and what is known of it so far."""

    wire: Wire
    questions: Questions
    window: int | None = None
    plain: Reading | None = None
    figures: dict[str, float] = field(default_factory=dict)

    async def ask(self, message: str, **options: object) -> Reading:
        """Ask in the subject's dialect."""
        path, body = self.questions.ask(message, **options)
        return read(await self.wire.post(path, body))


Check = Callable[[Subject], Awaitable[list[Finding]]]
