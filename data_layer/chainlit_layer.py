"""Chainlit's data layer: its contract on our tables, always as the owner of the request.

Turns and their two steps are the engine's; Chainlit only reads them, and renames or deletes
threads. Steps, elements and feedback of Chainlit's own are not kept yet: the routes that make
them are closed (parley/surfaces/page/doors.py), and a call that comes all the same says so.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chainlit.data.base import BaseDataLayer
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

from data_layer.rows import AnyRow
from data_layer.threads import SqlThreads
from parley.chat.errors import InvalidRequest, NotFound, Unauthenticated
from parley.chat.owner import current_owner
from parley.chat.turns import Owner, error_step_id
from parley.observability.logs import get_logger

if TYPE_CHECKING:
    from chainlit.element import Element, ElementDict

logger = get_logger(__name__)

_LARGEST_PAGE = 100
# The page opens a thread at its last messages; more make the browser stall for seconds.
_SHOWN_STEPS = 100


class ChainlitLayer(BaseDataLayer):
    """What Chainlit's page reads and changes; foreign and missing things look the same."""

    def __init__(self, threads: SqlThreads) -> None:
        """Read and change `threads`; closing this layer closes nothing."""
        self._threads = threads

    @override
    async def get_user(self, identifier: str) -> PersistedUser | None:
        owner = current_owner.get()
        return persisted_user(owner) if owner and owner.identifier == identifier else None

    @override
    async def create_user(self, user: User) -> PersistedUser | None:
        return await self.get_user(user.identifier)

    @override
    async def get_thread_author(self, thread_id: str) -> str:
        owner = _owner()
        found = await self._find(owner, thread_id)
        return owner.identifier if found else ""

    @override
    async def list_threads(
        self, pagination: Pagination, filters: ThreadFilter
    ) -> PaginatedResponse[ThreadDict]:
        owner = _owner()
        page = await self._threads.page(
            owner.id,
            limit=max(1, min(pagination.first, _LARGEST_PAGE)),
            cursor=pagination.cursor,
            search=filters.search,
        )
        info = PageInfo(
            hasNextPage=page.next_cursor is not None,
            startCursor=pagination.cursor,
            endCursor=page.next_cursor,
        )
        return PaginatedResponse(info, [_thread_dict(row, owner, []) for row in page.rows])

    @override
    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        owner = _owner()
        row = await self._find(owner, thread_id)
        if row is None:
            return None
        rows = await self._threads.steps(owner.id, row.id, limit=_SHOWN_STEPS)
        return _thread_dict(row, owner, [step for row in rows for step in _step_dicts(row)])

    @override
    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        # Chainlit also writes its session here at every disconnect: of that nothing is kept.
        owner = current_owner.get()
        if owner and name is not None and await self._find(owner, thread_id):
            await self._threads.rename(owner.id, thread_id, name)

    @override
    async def delete_thread(self, thread_id: str) -> None:
        owner = _owner()
        if await self._find(owner, thread_id):
            await self._threads.delete(owner.id, thread_id)

    @override
    async def create_step(self, step_dict: StepDict) -> None:
        _not_kept("step")

    @override
    async def update_step(self, step_dict: StepDict) -> None:
        _not_kept("step")

    @override
    async def delete_step(self, step_id: str) -> None:
        _not_kept("step")

    @override
    async def create_element(self, element: "Element") -> None:
        _not_kept("element")

    @override
    async def get_element(self, thread_id: str, element_id: str) -> "ElementDict | None":
        return None

    @override
    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        _not_kept("element")

    @override
    async def upsert_feedback(self, feedback: Feedback) -> str:
        raise InvalidRequest("Feedback is not kept yet.")

    @override
    async def delete_feedback(self, feedback_id: str) -> bool:
        return False

    @override
    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        return []

    @override
    async def build_debug_url(self) -> str:
        return ""

    @override
    async def close(self) -> None:
        """Close nothing: the database belongs to whoever opened it."""

    async def _find(self, owner: Owner, thread_id: str) -> AnyRow | None:
        """Read a thread of this owner; Chainlit passes on whatever id a client sent."""
        try:
            return await self._threads.thread(owner.id, str(UUID(thread_id)))
        except (ValueError, NotFound):
            return None


def persisted_user(owner: Owner) -> PersistedUser:
    """Describe an owner to Chainlit."""
    return PersistedUser(
        id=owner.id,
        identifier=owner.identifier,
        display_name="Guest",
        createdAt="1970-01-01T00:00:00Z",
        metadata={},
    )


def _owner() -> Owner:
    owner = current_owner.get()
    if owner is None:
        raise Unauthenticated("Nobody is known to be calling.")
    return owner


def _not_kept(what: str) -> None:
    logger.warning("Chainlit wrote something that is not kept", what=what)


def _thread_dict(row: AnyRow, owner: Owner, steps: list[StepDict]) -> ThreadDict:
    return ThreadDict(
        id=row.id,
        # The sidebar groups and sorts by this key: it wants the last activity.
        createdAt=_iso(row.last_active_at),
        name=row.name,
        userId=owner.id,
        userIdentifier=owner.identifier,
        tags=row.tags or [],
        metadata=row.metadata,
        steps=steps,
        elements=[],
    )


def _step_dicts(row: AnyRow) -> list[StepDict]:
    """Show a stored step; the answer of a turn that failed or broke off is followed by its error."""
    shown = []
    if row.output or row.type == "user_message":
        shown.append(_step_dict(row, row.id, row.output))
    if row.type == "assistant_message" and row.error_message:
        shown.append(_step_dict(row, error_step_id(row.id), row.error_message, is_error=True))
    return shown


def _step_dict(row: AnyRow, step_id: str, output: str, *, is_error: bool = False) -> StepDict:
    return StepDict(
        id=step_id,
        threadId=row.thread_id,
        parentId=None,
        name=row.name,
        type=row.type,
        input="",
        output=output,
        isError=is_error,
        streaming=False,
        createdAt=_iso(row.created_at),
        start=_iso(row.created_at),
        end=_iso(row.ended_at or row.created_at),
        metadata=row.metadata,
        generation=row.generation,
        showInput=False,
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
