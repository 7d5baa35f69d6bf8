"""Titles: a new conversation is named by its model, in the background.

Until then, and where the model gives no name that is one, it has the first words of its first
message. A name that somebody gave is never replaced. The call is a turn that is not kept: it has
its owner's limits, its stop, and its end with the process.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parley.chat.conversations import Conversations
from parley.chat.deltas import FinishReason
from parley.chat.engine import Engine
from parley.chat.errors import ParleyError
from parley.chat.fold import Folded, fold
from parley.chat.models import Sampling
from parley.chat.owner import current_owner
from parley.chat.ports import Catalogue
from parley.chat.requests import thread_name
from parley.chat.turns import Extras, Owner, Turn, TurnRequest, TurnState
from parley.observability.logs import get_logger

logger = get_logger(__name__)

_PROMPT = (
    "You name conversations. Read the beginning of one, and answer with a title for it of three to"
    " six words, in its own language, and nothing else: no quotation marks, no full stop."
)
_READ_CHARS = 1000
_SHOWN_CHARS = 80
_ANSWER_TOKENS = 64
_LABEL = re.compile(r"^\s*(?:title|name)\s*:\s*", re.IGNORECASE)
# Quotation marks of several languages, and what Markdown has around a heading.
_AROUND = " \t\"'`*_#\u00ab\u00bb\u201e\u201c\u201d\u201a\u2018\u2019.:"


@dataclass(frozen=True, slots=True)
class TitleConfig:
    """So many are asked for at once, so many wait, and none takes longer."""

    at_once: int = 2
    waiting: int = 50
    within_s: float = 30.0


class Titles:
    """Names conversations whose first turn is over; make one with `open_titles`."""

    def __init__(
        self,
        config: TitleConfig,
        engine: Engine,
        catalogue: Catalogue,
        conversations: Conversations,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Wire it; see `open_titles`."""
        self._config = config
        self._engine = engine
        self._catalogue = catalogue
        self._conversations = conversations
        self._tasks = tasks
        self._room = asyncio.Semaphore(config.at_once)
        self.waiting: set[asyncio.Task[None]] = set()

    def ended(self, turn: Turn) -> None:
        """Hear of a turn that is over here."""
        is_first = turn.keep and turn.parent_id is None and turn.state is TurnState.COMPLETED
        if is_first and turn.text.strip() and len(self.waiting) < self._config.waiting:
            task = self._tasks.create_task(self._name(turn))
            self.waiting.add(task)
            task.add_done_callback(self.waiting.discard)

    async def _name(self, turn: Turn) -> None:
        before = thread_name(turn.text)
        try:
            async with self._room, asyncio.timeout(self._config.within_s):
                if not self._catalogue.resolve(turn.model).info.capabilities.is_model:
                    return
                read = await self._conversations.read(turn.owner_id, turn.thread_id)
                if read.title == before and (title := title_of(await self._ask(turn))):
                    await self._conversations.retitle(turn.owner_id, turn.thread_id, before, title)
        except TimeoutError:
            logger.info("No title in time", thread_id=turn.thread_id)
        except ParleyError as error:
            logger.info("No title", thread_id=turn.thread_id, code=error.code)

    async def _ask(self, turn: Turn) -> Folded:
        said, answer = turn.text[:_READ_CHARS], turn.answer.text[:_READ_CHARS]
        asked = TurnRequest(
            owner=_owner_of(turn),
            thread_id=turn.thread_id,
            text=f"Message:\n{said}\n\nAnswer:\n{answer}",
            model=turn.model,
            sampling=Sampling(max_tokens=_ANSWER_TOKENS, temperature=0.2),
            system_prompt=_PROMPT,
            keep=False,
            extras=Extras(use_tools=()),
        )
        naming = (await self._engine.submit(asked)).turn
        return fold([event async for event in self._engine.follow(naming)])


def title_of(said: Folded) -> str | None:
    """Find the title in what a model said; None where there is none. Pure."""
    if said.finish_reason is not FinishReason.STOP:
        return None
    lines = [line for line in said.text.splitlines() if line.strip()]
    title = _LABEL.sub("", lines[0].strip(_AROUND)).strip(_AROUND) if lines else ""
    return title if 0 < len(title) <= _SHOWN_CHARS else None


def _owner_of(turn: Turn) -> Owner:
    """Give whose the turn is; one whom no cookie names is a guest by the session's id."""
    owner = current_owner.get()
    if owner and owner.id == turn.owner_id:
        return owner
    return Owner(turn.owner_id, f"session:{turn.owner_id}")


@asynccontextmanager
async def open_titles(
    config: TitleConfig, engine: Engine, catalogue: Catalogue, conversations: Conversations
) -> AsyncIterator[Titles]:
    """Name what begins from now on; on leaving, what is not named yet keeps its first words."""
    async with asyncio.TaskGroup() as tasks:
        titles = Titles(config, engine, catalogue, conversations, tasks)
        with engine.telling(titles.ended):
            yield titles
        for task in titles.waiting:
            task.cancel()
