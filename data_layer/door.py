"""Door: this data layer for any other Chainlit app.

    @cl.data_layer
    def data_layer():
        return open_data_layer("sqlite:///./chat.db")

Chainlit calls such a function without waiting for anything, has no hook to open it, and closes what
it got at its shutdown. So the layer opens itself at the first call that needs the database: it
migrates, then reads and writes. Also usable as ``async with open_data_layer(url) as layer:``.

Whose a call is, only Chainlit knows: in a session its user; over HTTP whoever it has asked for,
which it does first in every request of somebody signed in. Where nobody is, nothing is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from chainlit.config import config as app_config
from chainlit.context import context_var
from chainlit.types import ThreadDict
from chainlit.user import PersistedUser, User
from typing_extensions import override

from data_layer.chainlit_layer import ChainlitLayer
from data_layer.contract import check_contract
from data_layer.database import Database, DatabaseConfig, Operation, open_database
from data_layer.door_files import add_downloads
from data_layer.elements import SqlElements
from data_layer.faults import explained
from data_layer.local_storage import LocalStorage
from data_layer.migrate import bring_up_to_date
from data_layer.sharing import SqlSharing
from data_layer.storage import Quota, StorageConfig
from data_layer.writer import Writer
from parley.chat.attachments import Attachment
from parley.chat.errors import Forbidden, NotFound, ShuttingDown, StorageUnavailable
from parley.chat.owner import current_owner
from parley.chat.turns import Owner
from parley.observability.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")


def open_data_layer(
    database_url: str,
    *,
    storage_directory: str | Path = ".parley/files",
    limit_upload_bytes: int = 50 * 1024 * 1024,
    limit_kept_bytes: int = 1024 * 1024 * 1024,
) -> "AppDataLayer":
    """Make the data layer of a Chainlit app, on ``sqlite:///…`` or ``postgresql://…``.

    The bytes of elements go to a directory that only the server's user may read. The layer opens
    itself when it is first used. Where neither `async with` nor the server closes it (`chainlit
    run` does, `mount_chainlit` does not), its `close` is to be awaited.
    """
    quota = Quota(limit_kept_bytes, "limit_kept_bytes")
    directory = Path(storage_directory)
    storage = StorageConfig(directory, limit_upload_bytes, "limit_upload_bytes", quota)
    return AppDataLayer(DatabaseConfig(database_url), storage)


class AppDataLayer(ChainlitLayer):
    """Chainlit's data layer in an app that is not Parley: every step comes from Chainlit."""

    def __init__(self, config: DatabaseConfig, storage: StorageConfig) -> None:
        """Prepare it; nothing is opened before the first call."""
        self._opened = _OpenedLate(config, self._sweep)
        self._writing = _StartedLate(self._opened)
        self._sharing = SqlSharing(self._opened, self._writing)
        self._has_warned = False
        self._files = SqlElements(self._opened, self._writing, LocalStorage(storage), storage.quota)
        super().__init__(
            self._opened,
            self._writing,
            elements=self._files,
            owner=_caller,
            seen=_notice,
            shown_messages=None,
        )
        add_downloads(self._files, self._find_file)

    async def __aenter__(self) -> Self:
        """Open it now: a database that cannot be used is an error here, and not at the first user's."""
        await self._opened.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    @override
    async def close(self) -> None:
        """Write what waits to be written, then close the database."""
        await super().close()
        await self._writing.finish()
        await self._opened.close()

    @override
    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        viewer = self._owner()
        thread = await super().get_thread(thread_id) if viewer else None
        # Of a thread that is not theirs, Chainlit's route of shared threads is all that asks
        # outside of a session.
        if thread is None and viewer and context_var.get(None) is None:
            return await self._shared_thread(thread_id, viewer)
        return thread

    @override
    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        # A session writes back what it found when it began, long ago: it shares nothing.
        if metadata and "is_shared" in metadata and context_var.get(None) is None:
            await self._share(thread_id, is_shared=bool(metadata["is_shared"]))
        await super().update_thread(thread_id, name, user_id, metadata, tags)

    @override
    async def _later(
        self, operation: str, make: Callable[[Owner], Callable[[], Awaitable[object]]]
    ) -> None:
        if self._owner() is None and (user := _unknown_user()):
            await self._unawaited.run("create_user", lambda: self._recognise(user))
        if self._owner() is not None:
            await super()._later(operation, make)
        elif not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Nobody is signed in, so nothing is kept: give the app an authentication callback"
                " (docs.chainlit.io/authentication)"
            )

    async def _sweep(self) -> None:
        await self._files.sweep()

    async def _recognise(self, user: User) -> None:
        """Make the user of a session known that began while the database was away."""
        context_var.get().session.user = await self.create_user(user)

    async def _find_file(self, file_id: str, thread_id: str | None) -> Attachment:
        viewer = self._caller()
        if thread_id is None:
            return await self._files.find(viewer.id, file_id)
        if await self._shared_thread(thread_id, viewer) is None:
            raise NotFound("There is no such file.")
        owner_id = await self._sharing.owner_of_file(thread_id, file_id)
        return await self._files.find(owner_id, file_id)

    async def _share(self, thread_id: str, *, is_shared: bool) -> None:
        if is_shared and not app_config.features.allow_thread_sharing:
            raise Forbidden("Sharing is off (allow_thread_sharing in .chainlit/config.toml).")
        await self._sharing.share(self._caller().id, thread_id, is_shared=is_shared)

    async def _shared_thread(self, thread_id: str, viewer: Owner) -> ThreadDict | None:
        """Show a shared thread if the app's hook lets the viewer.

        Chainlit asks the hook too, and shows what is marked as shared whatever it says.
        """
        may_view = app_config.code.on_shared_thread_view
        if may_view is None or not app_config.features.allow_thread_sharing:
            return None
        try:
            thread = await self._sharing.view(thread_id)
        except NotFound:
            return None
        thread["metadata"] = {"is_shared": True}
        return thread if await may_view(thread, await self._users.find(viewer.identifier)) else None


class _OpenedLate(Database):
    """A database that is migrated and opened when it is first needed; then `sweep` runs."""

    def __init__(
        self, config: DatabaseConfig, sweep: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        self._config = config
        self._sweep = sweep
        self._sweeping: asyncio.Task[None] | None = None
        self._database: Database | None = None
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._is_closed = False

    async def open(self) -> Database:
        """Open it unless it is open; raises `StorageUnavailable`, and tries again the next time."""
        if self._database is not None:
            return self._database
        async with self._opening:
            if self._is_closed:
                raise ShuttingDown("The data layer is closed.")
            if self._database is None:
                check_contract()
                self._database = await self._open()
                # Ended by `close`: there is no block that could hold a TaskGroup.
                self._sweeping = asyncio.create_task(self._sweep())  # noqa: TID251
            return self._database

    async def _open(self) -> Database:
        try:
            await bring_up_to_date(self._config)
            return await self._resources.enter_async_context(open_database(self._config))
        except (StorageUnavailable, OSError) as error:
            said = explained(self._config.url, error)
            logger.error("The database cannot be opened", reason=said)  # noqa: TRY400 - said in one line
            raise StorageUnavailable(said, retry_after_s=1) from error

    async def close(self) -> None:
        """Close it for good."""
        async with self._opening:
            if self._sweeping is not None:
                self._sweeping.cancel()
                await asyncio.wait([self._sweeping])
            self._is_closed, self._database = True, None
            await self._resources.aclose()

    @override
    async def read(self, operation: Operation[T]) -> T:
        return await (await self.open()).read(operation)

    @override
    async def write(self, operation: Operation[T]) -> T:
        return await (await self.open()).write(operation)


class _StartedLate(Writer):
    """A writer whose task begins with its first write: before it, there may be no event loop."""

    _running: asyncio.Task[None] | None = None

    @override
    async def write(self, operation: Operation[T]) -> T:
        if self._running is None and not self._closing:
            # Kept, and awaited by `finish`: there is no block that could hold a TaskGroup.
            self._running = asyncio.create_task(self.run())  # noqa: TID251
        return await super().write(operation)

    async def finish(self) -> None:
        """Write what waits, and take no more."""
        self.close()
        if self._running is not None:
            await self._running


def _caller() -> Owner | None:
    """Say whose the call is; where Chainlit's session and its cookie disagree, nobody's."""
    noticed, context = current_owner.get(), context_var.get(None)
    if context is None:
        return noticed
    user = context.session.user
    if not isinstance(user, PersistedUser):
        return None
    owner = Owner(user.id, user.identifier)
    return owner if noticed in (None, owner) else None


def _unknown_user() -> User | None:
    """Give the session's user where the database has not said who that is."""
    context = context_var.get(None)
    user = context.session.user if context else None
    return None if isinstance(user, PersistedUser) else user


def _notice(owner: Owner) -> None:
    """Keep who signed in, for the rest of this request."""
    if context_var.get(None) is None:
        current_owner.set(owner)
