"""Chainlit's data layer: its contract on our tables, always as the owner who calls.

Turns and their two steps are the engine's; Chainlit reads them, marks them as favourites, rates
them, and changes no word of them. This class only says whose each call is and passes it on.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from chainlit.context import context_var
from chainlit.data.base import BaseDataLayer
from chainlit.data.utils import queue_until_user_message
from chainlit.step import StepDict
from chainlit.types import (
    Feedback,
    PageInfo,
    PaginatedResponse,
    Pagination,
    ThreadDict,
    ThreadFilter,
)
from chainlit.user import PersistedUser, User
from typing_extensions import override

from data_layer.database import Database
from data_layer.element_dicts import element_dict, new_element, session_files
from data_layer.elements import SqlElements
from data_layer.feedbacks import Rating, SqlFeedbacks
from data_layer.local_storage import LocalStorage
from data_layer.opened import open_thread
from data_layer.rows import AnyRow
from data_layer.step_dicts import listed_thread, step_write
from data_layer.step_merge import Stamps
from data_layer.steps import SqlSteps
from data_layer.storable import uuid_of, uuid_or_none
from data_layer.storage import StorageConfig
from data_layer.threads import SqlThreads, Tell, untold
from data_layer.unawaited import Unawaited, report
from data_layer.users import SqlUsers, new_user
from data_layer.writer import Writer
from parley.chat.errors import InvalidRequest, NotFound, ParleyError, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.ports import ContextStore
from parley.chat.turns import Owner
from parley.observability.logs import get_logger

if TYPE_CHECKING:
    from chainlit.element import Element, ElementDict

logger = get_logger(__name__)
Write = Callable[[], Awaitable[object]]

# The page opens a thread at its last messages; more make the browser stall for seconds.
_SHOWN_MESSAGES = 100


class ChainlitLayer(BaseDataLayer):
    """What Chainlit reads and changes; foreign and missing things look the same."""

    def __init__(  # noqa: PLR0913 - what it passes calls on to, by name
        self,
        database: Database,
        writer: Writer,
        *,
        elements: SqlElements | None = None,
        contexts: ContextStore | None = None,
        owner: Callable[[], Owner | None] = current_owner.get,
        seen: Callable[[Owner], None] | None = None,
        shown_messages: int | None = _SHOWN_MESSAGES,
        tell: Tell = untold,
    ) -> None:
        """Read through `database`, write through `writer`; closing this layer closes neither.

        `elements` keeps files; by default in `.parley/files`. `contexts` are what a deleted thread
        leaves elsewhere; `tell` hears of names and deletions.
        `owner` says who calls. In an app where only Chainlit knows that, `seen` is told of each
        user that Chainlit asks for, since it asks for the one who calls; without it nobody but
        the owner is found. A thread opens at its last `shown_messages`; None shows all.
        """
        self._database = database
        self._owner = owner
        self._seen = seen
        self._shown_messages = shown_messages
        self._users = SqlUsers(database, writer)
        self._threads = SqlThreads(database, writer, tell=tell)
        self._steps = SqlSteps(database, writer)
        self._feedbacks = SqlFeedbacks(database, writer)
        self._stamps = Stamps()
        self._elements = elements or SqlElements(database, writer, LocalStorage(StorageConfig()))
        self._contexts = contexts
        self._unawaited = Unawaited()

    # Users

    @override
    async def get_user(self, identifier: str) -> PersistedUser | None:
        if self._seen is not None:
            return self._noticed(await self._users.find(identifier))
        owner = self._owner()
        if owner is None or owner.identifier != identifier:
            return None
        return await self._users.find(identifier) or new_user(owner)

    @override
    async def create_user(self, user: User) -> PersistedUser | None:
        if self._seen is not None:
            return self._noticed(await self._users.put(user.identifier, user.metadata))
        owner = self._owner()
        if owner is None or owner.identifier != user.identifier:
            return None
        return await self._users.put(user.identifier, user.metadata, owner.id)

    # Threads

    @override
    async def get_thread_author(self, thread_id: str) -> str:
        owner = self._caller()
        found = await self._find(owner, thread_id)
        return owner.identifier if found else ""

    @override
    async def list_threads(
        self, pagination: Pagination, filters: ThreadFilter
    ) -> PaginatedResponse[ThreadDict]:
        owner = self._caller()
        page = await self._threads.page(
            owner.id,
            limit=pagination.first,
            cursor=pagination.cursor,
            search=filters.search,
            feedback=filters.feedback,
        )
        info = PageInfo(
            hasNextPage=page.next_cursor is not None,
            startCursor=pagination.cursor,
            endCursor=page.next_cursor,
        )
        return PaginatedResponse(info, [listed_thread(row, owner) for row in page.rows])

    @override
    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        return await self.open_thread(thread_id, self._shown_messages)

    async def open_thread(self, thread_id: str, shown_messages: int | None) -> ThreadDict | None:
        """Read a thread of the caller's at its last messages, all with None."""
        owner, thread = self._caller(), uuid_or_none(thread_id)
        if thread is None:
            return None
        return await self._database.read(
            lambda connection: open_thread(connection, owner, thread, shown_messages)
        )

    @override
    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        # Chainlit also writes its session here at every disconnect, of deleted threads too and of
        # those that never were: no error, nothing to tell anybody.
        owner, thread = self._owner(), uuid_or_none(thread_id)
        if owner is None or thread is None:
            return
        with suppress(NotFound):
            if name is not None or tags is not None or user_id is not None:
                await self._threads.put(owner, thread, name=name, tags=tags)
            if metadata is not None:
                await self._threads.merge_metadata(owner.id, thread, metadata)

    @override
    async def delete_thread(self, thread_id: str) -> None:
        owner = self._caller()
        if found := await self._find(owner, thread_id):
            keys = await self._threads.delete(owner.id, found.id)
            await self._elements.discard(owner.id, keys)
            if self._contexts:
                await self._contexts.forget([found.id])

    # Steps

    @override
    async def create_step(self, step_dict: StepDict) -> None:
        await self._later(
            "create_step",
            lambda owner: partial(self._steps.write, owner, step_write(step_dict)),
        )

    @override
    async def update_step(self, step_dict: StepDict) -> None:
        await self._later(
            "update_step",
            lambda owner: partial(
                self._steps.write, owner, step_write(step_dict, updated_at=self._stamps.next())
            ),
        )

    @override
    async def delete_step(self, step_id: str) -> None:
        await self._later(
            "delete_step",
            lambda owner: partial(self._delete_step, owner, uuid_of(step_id)),
        )

    @override
    async def set_step_favorite(self, step_dict: StepDict, favorite: bool) -> StepDict:
        owner = self._caller()
        await self._steps.set_favorite(owner.id, uuid_of(step_dict.get("id")), favorite=favorite)
        metadata = {**(step_dict.get("metadata") or {}), "favorite": favorite}
        return StepDict(**{**step_dict, "metadata": metadata})

    @override
    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        owner = self._caller()
        return await self._steps.favorites(owner.id) if user_id == owner.id else []

    # Elements

    @override
    async def create_element(self, element: "Element") -> None:
        await self._later(
            "create_element",
            lambda owner: partial(self._elements.put, owner, new_element(element, session_files())),
        )

    @override
    async def get_element(self, thread_id: str, element_id: str) -> "ElementDict | None":
        owner, thread = self._caller(), uuid_or_none(thread_id)
        found = uuid_or_none(element_id)
        if thread is None or found is None:
            return None
        row = await self._elements.element(owner.id, thread, found)
        return element_dict(row) if row else None

    @override
    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        thread = uuid_of(thread_id) if thread_id else None
        await self._later(
            "delete_element",
            lambda owner: partial(self._elements.delete, owner, uuid_of(element_id), thread),
        )

    # Feedback

    @override
    async def upsert_feedback(self, feedback: Feedback) -> str:
        rating = Rating(feedback.forId, feedback.value, feedback.comment, feedback.id)
        return await self._feedbacks.rate(self._caller().id, rating)

    @override
    async def delete_feedback(self, feedback_id: str) -> bool:
        return await self._feedbacks.delete(self._caller().id, feedback_id)

    # The rest

    @override
    async def build_debug_url(self) -> str:
        return ""

    @override
    async def close(self) -> None:
        """Wait for the writes under way; the database belongs to whoever opened it."""
        await self._unawaited.drain()

    def _caller(self) -> Owner:
        owner = self._owner()
        if owner is None:
            raise Unauthenticated("Nobody is known to be calling.")
        return owner

    def _noticed(self, user: PersistedUser | None) -> PersistedUser | None:
        if user is not None and self._seen is not None:
            self._seen(Owner(user.id, user.identifier))
        return user

    async def _delete_step(self, owner: Owner, step_id: str) -> None:
        keys = await self._steps.delete(owner, step_id)
        await self._elements.discard(owner.id, keys)

    async def _find(self, owner: Owner, thread_id: str) -> AnyRow | None:
        """Read a thread of this owner; Chainlit passes on whatever id a client sent."""
        try:
            return await self._threads.thread(owner.id, uuid_of(thread_id))
        except (InvalidRequest, NotFound):
            return None

    async def _later(self, operation: str, make: Callable[[Owner], Write]) -> None:
        """Run a write that Chainlit does not wait for, once the user has said something.

        `make` reads Chainlit's dictionary or object, now: it is changed again in a moment.
        """
        try:
            write = make(self._caller())
        except ParleyError as error:
            report(operation, error.code)
            return
        if context_var.get(None) is None:  # not in a session of Chainlit's: nothing to wait for
            await self._unawaited.run(operation, write)
        else:
            await self._in_session(operation, write)

    @queue_until_user_message()  # type: ignore[no-untyped-call,untyped-decorator]  # Chainlit's has no types
    async def _in_session(self, operation: str, write: Write) -> None:
        await self._unawaited.run(operation, write)
