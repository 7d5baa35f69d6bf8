"""Offering: a small local model, by a click, where nothing but the demo answers.

First what it would be: name, size, licence, place. Nothing is fetched before the second click, and
nobody is offered it who may not fill this machine's disk (parley/auth/operators.py).
"""

import asyncio
from typing import Protocol
from uuid import uuid4
from weakref import WeakSet

from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.step import StepDict

from parley.chat.errors import Conflict, Forbidden
from parley.chat.models import FetchProgress, OfferedModel
from parley.chat.turns import Owner
from parley.surfaces.page.buttons import FETCH, Button, Pressed, offer_buttons, texts_for
from parley.surfaces.page.markdown import shown
from parley.surfaces.page.reader import assistant_step, socket_ready
from parley.surfaces.sentences import error_text
from parley.surfaces.texts import Texts

_LOOK_S = 0.3
_MEGABYTE = 1_000_000
_NOT_YOURS = (
    "Only who runs this server may fetch a model: by `parley models pull` there, or for everyone"
    " by LOCAL_MODEL_OFFER."
)


class LocalModel(Protocol):
    """A model that this machine could run itself."""

    @property
    def is_offered(self) -> bool:
        """Whether there is no other, and what it takes to run one."""
        ...

    @property
    def progress(self) -> FetchProgress:
        """How far the fetch is."""
        ...

    async def look_up(self) -> OfferedModel:
        """Say what would be fetched; raises `ProviderError`."""
        ...

    def fetch(self) -> None:
        """Fetch it in the background, unless that is under way."""
        ...


class Offering:
    """The model, as sessions are offered it: who may not fetch it does not hear of it."""

    def __init__(self, local: LocalModel) -> None:
        """Offer this one."""
        self._local = local
        self._operators: WeakSet[WebsocketSession] = WeakSet()

    def set_operator(self, session: WebsocketSession, *, is_one: bool) -> None:
        """Take note of whether who has the session may have it fetched."""
        if is_one:
            self._operators.add(session)
        else:
            self._operators.discard(session)

    def is_for(self, session: WebsocketSession) -> bool:
        """Whether there is a model to offer, and this is whom it is offered to."""
        return session in self._operators and self._local.is_offered

    async def describe(self, session: WebsocketSession, _: Owner, __: Pressed) -> None:
        """Say what would be fetched, with the button that does it."""
        self._check(session)
        texts, offered = texts_for(session), await self._local.look_up()
        step = assistant_step(str(uuid4()), session.thread_id, _described(offered, texts))
        await ChainlitEmitter(session).send_step(step)
        await offer_buttons(session, [Button(FETCH, step["id"], step["id"], texts.fetch)])

    async def fetch(self, session: WebsocketSession, step_id: str) -> bool:
        """Fetch it, and show how far it is while the page is there; True once it answers."""
        self._check(session)
        texts, emitter = texts_for(session), ChainlitEmitter(session)
        self._local.fetch()
        step = assistant_step(step_id, session.thread_id, "")
        while not self._local.progress.is_over:
            await _update(session, step, _shown_progress(self._local.progress, texts))
            await asyncio.sleep(_LOOK_S)
        error = self._local.progress.error
        told = shown(error_text(texts, error)) if error else texts.fetched
        await _update(session, step, told)
        if error:
            return False
        await emitter.emit("remove_action", Button(FETCH, step_id, step_id).action)
        return True

    def _check(self, session: WebsocketSession) -> None:
        if session not in self._operators:
            raise Forbidden(_NOT_YOURS)
        if not self._local.is_offered:
            raise Conflict("A model answers here already. Load the page again to choose it.")


async def _update(session: WebsocketSession, step: StepDict, text: str) -> None:
    await socket_ready(session, session.socket_id)
    if step["output"] != text:
        step["output"] = text
        await ChainlitEmitter(session).update_step(step)


def _described(offered: OfferedModel, texts: Texts) -> str:
    left = offered.size_bytes - offered.done_bytes
    size = f"{texts.number(offered.size_bytes / _MEGABYTE)} MB"
    if 0 < left < offered.size_bytes:
        size += f" ({texts.missing}: {texts.number(left / _MEGABYTE)} MB)"
    facts = (
        (texts.model, offered.name),
        (texts.size, size),
        (texts.licence, offered.licence or texts.not_named),
        (texts.goes_to, offered.directory),
    )
    lines = (f"- {name}: `{value}`" for name, value in facts)
    return "\n".join([texts.offer, "", *lines])


def _shown_progress(progress: FetchProgress, texts: Texts) -> str:
    if not progress.total_bytes:
        return f"{texts.fetching} …"
    percent = progress.done_bytes * 100 // progress.total_bytes
    total = progress.total_bytes / _MEGABYTE
    return f"{texts.fetching}: {percent} % / {texts.number(total, 1)} MB"
