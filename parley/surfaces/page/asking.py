"""Asking: what a page says, made into turns; what it opens, shown and followed."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from chainlit.data.base import BaseDataLayer
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession
from chainlit.types import ThreadDict
from chainlit.user import PersistedUser

from parley.chat.attachments import Attachments
from parley.chat.engine import Engine
from parley.chat.errors import Conflict, InvalidRequest, ParleyError
from parley.chat.models import Sampling
from parley.chat.receipts import Receipts
from parley.chat.turns import Extras, Owner, Turn, TurnRequest
from parley.surfaces.models import Models
from parley.surfaces.page.attached import ask_anew, attach_files, file_ids, images_of
from parley.surfaces.page.buttons import texts_for
from parley.surfaces.page.choices import Choice, asked_model, offer_choices, offer_settings
from parley.surfaces.page.following import Following
from parley.surfaces.page.receiving import check_sent, is_again, show_again
from parley.surfaces.page.showing import Shown, list_anew, show_gone
from parley.surfaces.starters import Profile
from parley.surfaces.texts import ENGLISH

_INTERACTION_CHARS = 100
# Chainlit's name for it in a thread's metadata.
_PROFILE = "chat_profile"
# How long a page may take to connect for good.
_OPENING_S = 10.0
_ELSEWHERE = "The settings were changed elsewhere before yours arrived. Look at them, and confirm yours again."


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page asks of the rest of Parley."""

    engine: Engine
    data_layer: BaseDataLayer
    attachments: Attachments
    receipts: Receipts
    models: Models
    profiles: Sequence[Profile]


@dataclass(frozen=True, slots=True)
class Anew:
    """What a turn asked, to be asked again with this text: in its place, or after all else.

    With a `key`, once, however often that comes.
    """

    turn: Turn
    text: str
    replaces: str | None = None
    key: str | None = None


class Asking:
    """What sessions say and open, each as its owner."""

    def __init__(self, asked: Asked, shown: Shown, following: Following) -> None:
        """Ask these."""
        self._asked = asked
        self._shown = shown
        self._following = following
        self._choices: WeakKeyDictionary[WebsocketSession, Choice] = WeakKeyDictionary()
        # What each page shows as chosen.
        self._offered: WeakKeyDictionary[WebsocketSession, Choice] = WeakKeyDictionary()
        # Sessions that asked for a thread which is not theirs, and until when each of their sockets
        # is told: one that is replaced at once takes what it was told along. A page that was told
        # has moved on, and would take it, told again, for what it opens next.
        self._lost_threads: WeakKeyDictionary[WebsocketSession, float] = WeakKeyDictionary()

    def has_lost_thread(self, session: WebsocketSession) -> None:
        """Take note that the thread which was asked for is unknown or another's: all the same."""
        self._lost_threads[session] = monotonic() + _OPENING_S

    def begins_with(self, session: WebsocketSession, label: str | None) -> None:
        """Take the profile that the page names, if there is such a one."""
        for profile in self._asked.profiles:
            if profile.label == label:
                session.chat_profile = profile.label
                self._choices[session] = Choice.of_profile(profile)

    def goes_on_with(self, session: WebsocketSession, chosen: object) -> None:
        """Take what the page had chosen with another server, or with this one before a restart.

        What of it does not fit is left out.
        """
        if not isinstance(chosen, Mapping):
            return
        choice = self._choice(session)
        with suppress(InvalidRequest):
            choice = choice.with_model(chosen.get("model"))
        with suppress(InvalidRequest):
            choice = choice.with_settings(chosen.get("settings"))
        self._choices[session] = choice

    async def resume(self, session: WebsocketSession) -> Turn | None:
        """Show what the thread holds; gives the turn that runs in it."""
        emitter = ChainlitEmitter(session)
        await emitter.task_end()  # type: ignore[no-untyped-call]  # Chainlit has no type here
        # Also after a lost connection: what was said meanwhile is in the rows.
        known = session.has_first_interaction or session.thread_id_to_resume
        # Before the thread: what ends while that is read and shown is still to be gone on with.
        running = await self._running(session) if known else None
        thread = await self._shown.read(session) if known else None
        if thread is None and session.has_first_interaction:
            await show_gone(session)
        elif monotonic() < self._lost_threads.get(session, 0) or (thread is None and known):
            await emitter.send_resume_thread_error(texts_for(session).no_thread)
        if thread is not None:
            self._remember(session, thread["metadata"] or {})
            await self._open(session, thread)
        # A page that has them keeps, through a lost connection, what was picked and not used yet.
        if self._offered.get(session) != self._choice(session):
            await self.offer_choices(session)
        return running

    async def _running(self, session: WebsocketSession) -> Turn | None:
        return await self._asked.engine.running(owner_of(session).id, session.thread_id)

    async def begin(self, session: WebsocketSession, payload: object) -> Turn:
        """Make a turn of a message."""
        message_id, text = _message(payload)
        check_sent(payload, self._asked.engine.message_limit_bytes)
        files = file_ids(payload, text)
        choice = self._choice(session).with_model(asked_model(payload))
        room = self._asked.engine.image_room(choice.model) if files else 0
        request = replace(
            self._request(session, text, choice),
            key=message_id,
            user_step_id=message_id,
            extras=Extras(
                images=await images_of(session, files, room),
                use_tools=choice.forbidden,
                language=_reads(session),
            ),
        )
        self._following.sends(session, message_id)
        self._lost_threads.pop(session, None)
        begun = await self._asked.engine.submit(request)
        await show_again(session, payload, message_id, text)
        is_first = not session.has_first_interaction
        if is_first:
            session.has_first_interaction = True
            await list_anew(session, text[:_INTERACTION_CHARS])
        await self._keep_model(session, asked_model(payload), is_first=is_first)
        if files and begun.created:
            await attach_files(session, self._asked.attachments, request.owner, begun.turn, files)
        return begun.turn

    async def edit(self, session: WebsocketSession, payload: object) -> None:
        """Ask an earlier question anew, in other words: a branch beside what was said.

        Every page of the thread is shown it, this one too (following.py).
        """
        step_id, text = _message(payload)
        try:
            turn = await self._turn_of(session, step_id)
            check_sent(payload, self._asked.engine.message_limit_bytes)
            key = uuid_of(payload.get("id")) if isinstance(payload, Mapping) else None
            await self.ask_anew(session, Anew(turn, text, turn.id, key), asked_model(payload))
        except ParleyError:
            # The page has cut its thread already.
            await self._following.show(session)
            raise

    async def _turn_of(self, session: WebsocketSession, step_id: str) -> Turn:
        owner = owner_of(session)
        turn_id = await self._asked.receipts.turn_of_answer(owner.id, step_id)
        turn = await self._asked.engine.turn(owner.id, turn_id)
        if turn.thread_id != session.thread_id or turn.user_step_id != step_id:
            raise InvalidRequest("Only a question of this conversation can be edited.")
        return turn

    async def ask_anew(self, session: WebsocketSession, anew: Anew, model: object) -> None:
        """Ask what a turn asked, of what the page has chosen by now, with the files of its message."""
        choice, turn = self._choice(session).with_model(model), anew.turn
        request = replace(
            self._request(session, anew.text, choice),
            key=anew.key,
            sampling=replace(turn.sampling, temperature=choice.temperature),
            replaces=anew.replaces,
            extras=replace(turn.extras, use_tools=choice.forbidden),
        )
        await ask_anew(self._asked.engine, self._asked.attachments, request, turn)
        await self._keep_model(session, model)

    async def stop(self, session: WebsocketSession, payload: object) -> None:
        """Stop the turn that is named: what comes late must not stop another one.

        Where none is, because the page has not heard yet of the turn that its message began, stop
        what runs in the session's thread.
        """
        engine, owner_id = self._asked.engine, owner_of(session).id
        turn_id = uuid_of(payload.get("turn_id")) if isinstance(payload, Mapping) else None
        if turn_id:
            await engine.stop(owner_id, turn_id)
        else:
            await engine.stop_thread(owner_id, session.thread_id)

    async def set(self, session: WebsocketSession, settings: object, sent: object = None) -> None:
        """Take what the settings panel says, for this thread from now on.

        Where the temperature is none, the rest is taken, and the panel shows what holds. That is
        shown too where the settings were sent again, and come too late: they were changed since.
        """
        before = self._choice(session)
        if is_again(sent) and not _is_known(before, settings, sent):
            await offer_settings(session, before)
            raise Conflict(_ELSEWHERE)
        try:
            choice = before.with_settings(settings)
        except InvalidRequest:
            choice = before.with_what_fits(settings)
            await self._keep(session, choice)
            await offer_settings(session, choice)
            raise
        await self._keep(session, choice)
        if is_again(sent):
            await offer_settings(session, choice)
        await ChainlitEmitter(session).send_toast(texts_for(session).settings_kept, "success")

    async def offer_choices(self, session: WebsocketSession) -> None:
        """Offer the models and the settings, with what is chosen."""
        self._offered[session] = choice = self._choice(session)
        await offer_choices(session, self._asked.models, choice)

    async def show(self, session: WebsocketSession) -> None:
        """Put the thread into the page anew."""
        await self._following.show(session)

    async def listen(self, session: WebsocketSession) -> None:
        """Read what is begun elsewhere in the session's thread, once it is one."""
        if session.has_first_interaction:
            await self._following.listen(session, owner_of(session), self._learn)

    async def _open(self, session: WebsocketSession, thread: ThreadDict) -> None:
        # Said again after a lost connection, which may have lost that too: without it the page
        # offers neither Stop nor thumbs.
        begun_here = thread["name"] if session.has_first_interaction else None
        session.has_first_interaction = True
        await list_anew(session, begun_here or "resume")
        await self._shown.show(session, thread)

    def _remember(self, session: WebsocketSession, kept: Mapping[str, Any]) -> None:
        """Take up what was kept."""
        self._choices[session] = Choice.of_thread(kept)
        session.chat_profile = kept.get(_PROFILE)

    async def _learn(self, session: WebsocketSession) -> None:
        """Take up what was chosen elsewhere, and show what of it the page does not show."""
        kept = await self._shown.metadata(session)
        if kept is None:
            return
        offered = self._offered.get(session)
        if Choice.of_thread(kept) != self._choice(session):
            self._remember(session, kept)
        choice = self._choice(session)
        if offered is None or offered.model != choice.model:
            await self.offer_choices(session)
        elif offered.settings != choice.settings:
            # What is picked, and not used yet, stays.
            self._offered[session] = choice
            await offer_settings(session, choice)

    async def _keep_model(
        self, session: WebsocketSession, model: object, *, is_first: bool = False
    ) -> None:
        """Keep the model that was asked; the settings may have changed while it was."""
        await self._keep(session, self._choice(session).with_model(model), is_first=is_first)

    async def _keep(
        self, session: WebsocketSession, choice: Choice, *, is_first: bool = False
    ) -> None:
        """Keep what is new in a choice with the thread, and with all sessions here that have it open.

        What is not new may be older than what another server has kept meanwhile.
        """
        before = self._choice(session).kept
        kept = {
            key: value for key, value in choice.kept.items() if is_first or value != before[key]
        }
        if is_first:
            kept[_PROFILE] = session.chat_profile
        # Its page shows it already; others will when they hear that there is something new.
        self._offered[session] = choice
        for each in {session, *(s for s in self._choices if s.thread_id == session.thread_id)}:
            self._choices[each] = choice
        if kept and session.has_first_interaction:
            await self._asked.data_layer.update_thread(session.thread_id, metadata=kept)

    def _choice(self, session: WebsocketSession) -> Choice:
        return self._choices.get(session, Choice())

    def _request(self, session: WebsocketSession, text: str, choice: Choice) -> TurnRequest:
        return TurnRequest(
            owner=owner_of(session),
            thread_id=session.thread_id,
            text=text,
            model=choice.model,
            sampling=Sampling(temperature=choice.temperature),
            system_prompt=choice.system_prompt,
        )


def _is_known(choice: Choice, settings: object, sent: object) -> bool:
    """Whether the page has what is chosen: as it was before it changed something, or by then."""
    before = sent.get("before") if isinstance(sent, Mapping) else None
    for said in (before, settings):
        with suppress(InvalidRequest):
            if choice.with_settings(said) == choice:
                return True
    return False


def _reads(session: WebsocketSession) -> str:
    """Say what language the session's user reads; nothing for English, which all is written in."""
    return "" if session.language == ENGLISH else str(session.language)


def owner_of(session: WebsocketSession) -> Owner:
    """Say whose session it is."""
    assert isinstance(session.user, PersistedUser)
    return Owner(session.user.id, session.user.identifier)


def uuid_of(value: object) -> str | None:
    """Give the value back if it is a UUID as `str(UUID)` writes it."""
    try:
        canonical = str(UUID(str(value)))
    except ValueError:
        return None
    return canonical if canonical == value else None


def _message(payload: object) -> tuple[str, str]:
    """Take id and text from what a client sent; the rest of its step is not believed."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    if not isinstance(message, Mapping):
        raise InvalidRequest("This is not a message.")
    message_id, text = uuid_of(message.get("id")), message.get("output")
    if message_id is None or not isinstance(text, str):
        raise InvalidRequest("A message needs a UUID as its id, and text.")
    return message_id, text
