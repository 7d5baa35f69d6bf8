"""The composition root: settings -> resources -> engine -> surfaces; exposes the ASGI `app`.

Builds at import, opens in the lifespan. The one place that knows concrete classes. It is served by
``parley serve``, and while one develops by ``chainlit run app.py -w`` too.
"""

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter
from starlette.middleware.cors import CORSMiddleware

from data_layer.database import Database, open_database
from data_layer.elements import SqlElements
from data_layer.faults import explained
from data_layer.local_storage import LocalStorage
from data_layer.migrate import bring_up_to_date, check_schema
from data_layer.ownership import open_ownership
from data_layer.sweeping import sweeping
from data_layer.turns import SqlTurnStore
from data_layer.writer import open_writer
from parley import __version__
from parley.auth.limits import open_limits
from parley.chat.engine import Engine, open_engine
from parley.chat.errors import StorageUnavailable, UnknownModel
from parley.chat.ports import Live, Ownership
from parley.chat.titles import open_titles
from parley.context.builder import WindowedContext
from parley.context.memory_store import MemoryContextStore
from parley.context.redis_guard import RedisGuard, open_blocking_redis, open_redis
from parley.context.redis_store import RedisContextStore
from parley.context.seen import TurnReceipts
from parley.identity import Kept, build_identity, open_identity, user_credentials
from parley.live.memory import memory_live
from parley.live.memory_counters import MemoryCounters
from parley.live.redis import open_redis_live
from parley.live.redis_counters import RedisCounters
from parley.observability.logs import configure_logs, get_logger
from parley.settings.build import load_config
from parley.settings.problems import EXIT_CODE, ConfigurationError
from parley.surfaces.account.visitors import Visitors
from parley.surfaces.api import Api
from parley.surfaces.docs import DescribedApp
from parley.surfaces.downloads import download_routes
from parley.surfaces.http.event_stream import FramesPast
from parley.surfaces.http.failures import add_failure_handlers
from parley.surfaces.http.hardening import Hardening
from parley.surfaces.http.ids import ID_PATTERN
from parley.surfaces.http.places import Places
from parley.surfaces.http.probes import probe_routes
from parley.surfaces.http.start import ExplainedStart, cannot_start
from parley.surfaces.models import Models
from parley.surfaces.origins import OriginGuard
from parley.surfaces.page import environment
from parley.surfaces.receipts import receipt_routes
from parley.surfaces.seal import Seals
from parley.surfaces.unknown import unknown_routes
from parley.surfaces.websocket import socket_routes
from parley.tools.opening import open_tools
from providers.ladder import open_registry
from providers.plugins import reload_plugins
from providers.suggestion import open_suggestion

ROOT = Path(__file__).parent
_NO_DATABASE = 1

try:
    config = load_config()
except ConfigurationError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(EXIT_CODE)
take_away = environment.prepare(ROOT, config.secret.derive("chainlit login")[-1].hex())

# Chainlit reads its environment when it is imported: not before this line.
from data_layer.chainlit_layer import ChainlitLayer  # noqa: E402
from data_layer.contract import check_contract  # noqa: E402
from data_layer.conversations import SqlConversations  # noqa: E402
from data_layer.sharing import SqlSharing  # noqa: E402
from parley.surfaces.page.development import serve_under_chainlit  # noqa: E402
from parley.surfaces.page.gate import GateConfig  # noqa: E402
from parley.surfaces.page.mount import mount_page  # noqa: E402
from parley.surfaces.page.socket import Page  # noqa: E402
from parley.surfaces.page.uploads import UploadConfig  # noqa: E402
from parley.surfaces.page.waiting import waiting_files  # noqa: E402

configure_logs(config.logs)
logger = get_logger("parley.app")


# Made here because the middleware needs it before anything is open.
identity = build_identity(config)
callers = identity.callers


@asynccontextmanager
async def lifespan(app: DescribedApp) -> AsyncIterator[dict[str, Any]]:
    """Open what serves, in order; close it in reverse, turns first.

    `drain` in its state is for a server that knows of its end before its connections do
    (parley/cli.py).
    """
    async with AsyncExitStack() as stack:
        stack.callback(take_away)
        with _explained(app):
            engine = await _open(app, stack)
        # What was imported lives as long as the process: kept out of the garbage collector's
        # sight, a full collection no longer stalls every stream (100 to 180 ms before).
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        logger.info("Parley is ready", version=__version__)
        yield {"drain": engine.drain}
        logger.info("Stopping; answers being written may finish")


async def _open(app: DescribedApp, stack: AsyncExitStack) -> Engine:
    registry = await stack.enter_async_context(aclosing(await open_registry(config.providers)))
    # Not a line of the log: it is said whatever LOG_LEVEL is.
    sys.stderr.write(f"Model: {registry.choice.line}\n")
    await bring_up_to_date(config.database)
    database = await stack.enter_async_context(open_database(config.database))
    writer = await stack.enter_async_context(open_writer(database))
    storage = LocalStorage(config.storage)
    redis = None
    if config.redis:
        redis = await stack.enter_async_context(
            open_redis(config.redis.address, config.redis.timeout_s)
        )
    turns, contexts = SqlTurnStore(database, writer), _contexts(redis)
    receipts = TurnReceipts(turns)
    context = WindowedContext(config.context, contexts, turns)
    elements = SqlElements(database, writer, storage, config.storage.quota)
    await stack.enter_async_context(sweeping(elements.sweep))
    check_contract()
    await stack.enter_async_context(waiting_files(storage.sweep))
    ownership = await stack.enter_async_context(
        open_ownership(config.database, database, writer, config.engine.replica_id)
    )
    live = await _open_live(stack, redis, ownership)
    tell = live.announcements.announce
    layer = ChainlitLayer(database, writer, elements=elements, contexts=contexts, tell=tell)
    stack.push_async_callback(layer.close)
    tools = await stack.enter_async_context(open_tools(config.tools))
    counters = RedisCounters(redis) if redis else MemoryCounters()
    limits = await stack.enter_async_context(open_limits(config.limits, counters))
    callers.limits = limits
    credentials = user_credentials(config, database, writer)
    running = config.engine.with_tools(tools).with_credentials(credentials)
    engine = await stack.enter_async_context(
        open_engine(running, registry, context, turns, live, ownership, limits)
    )
    conversations = SqlConversations(database, writer, elements, contexts, tell)
    if config.titles:
        await stack.enter_async_context(open_titles(config.titles, engine, registry, conversations))
    kept = Kept(database, writer, storage, contexts, registry)
    who = await stack.enter_async_context(open_identity(identity, kept))
    _add_routes(
        app,
        # First: of all requests these are the ones that somebody waits for.
        *_api(engine, registry, conversations).routers(),
        *who,
        _probes(database, redis),
        receipt_routes(receipts, callers, config.server.api_v1),
        download_routes(elements),
    )
    places = Places(*config.server.sockets)
    app.router.routes.extend(socket_routes(engine, callers, places))
    sharing = SqlSharing(database, writer) if config.server.allow_sharing else None
    local = await stack.enter_async_context(open_suggestion(registry, config.providers))
    asked = (engine, callers, layer, layer, elements, receipts, registry, local, sharing)
    _mount_page(
        app, Page(*asked, config.server.operators, config.starters, config.profiles), places
    )
    return engine


def _probes(database: Database, redis: RedisGuard | None) -> APIRouter:
    return probe_routes(
        lambda: check_schema(database),
        redis.trouble if redis else None,
        version=__version__,
        environment=config.server.environment,
    )


def _api(engine: Engine, models: Models, conversations: SqlConversations) -> Api:
    server = config.server
    return Api(
        engine,
        models,
        conversations,
        callers,
        Seals(config.secret, server.sealed_context_s),
        server.api_v1,
        body_limit_bytes=server.body_limit_bytes,
        message_limit_bytes=config.engine.message_limit_bytes,
        image_limit_bytes=config.engine.image_limit_bytes,
        import_limit_bytes=config.storage.limit_bytes,
    )


def _contexts(redis: RedisGuard | None) -> RedisContextStore | MemoryContextStore:
    if config.redis and redis:
        return RedisContextStore(redis, config.redis.ttl_s)
    return MemoryContextStore()


async def _open_live(stack: AsyncExitStack, redis: RedisGuard | None, ownership: Ownership) -> Live:
    if not (config.redis and redis):
        return memory_live()
    blocking = await stack.enter_async_context(open_blocking_redis(config.redis.address))
    engine = config.engine
    return await stack.enter_async_context(
        open_redis_live(
            redis, blocking, engine.replica_id, engine.run.window_s, lambda: ownership.is_fresh
        )
    )


@contextmanager
def _explained(app: DescribedApp) -> Iterator[None]:
    """Say in one line what is expected to go wrong at a start; anything else has its traceback."""
    try:
        yield
    except UnknownModel as error:
        cannot_start(app.state, error.message, EXIT_CODE)
        raise
    except (StorageUnavailable, OSError) as error:
        cannot_start(app.state, explained(config.database.url, error), _NO_DATABASE)
        raise


def _add_routes(app: DescribedApp, *routers: APIRouter) -> None:
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(unknown_routes(routers))


def _mount_page(app: DescribedApp, page: Page, places: Places) -> None:
    server, storage = config.server, config.storage
    gate = GateConfig(
        server.body_limit_bytes,
        places,
        image_hosts=server.image_hosts,
        in_frame=server.in_space,
        account_link=config.identity.is_configured,
    )
    uploads = UploadConfig(storage.waiting_directory, storage.limit_bytes, server.upload_limit)
    mount_page(app, page, gate, uploads)


def _build() -> DescribedApp:
    app = DescribedApp(
        title="Parley", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    add_failure_handlers(app)
    app.add_middleware(ExplainedStart)
    app.add_middleware(Visitors, callers=callers, revocations=identity.revocations)
    app.add_middleware(
        OriginGuard, allowed=config.server.origins, public_url=config.server.public_url
    )
    if config.server.cors_allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.server.cors_allow_origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "X-Turn-Id", "Retry-After"],
        )
    app.add_middleware(
        Hardening,
        frame_ancestors=config.server.frame_ancestors,
        public_url=config.server.public_url,
    )
    app.add_middleware(
        CorrelationIdMiddleware,
        header_name="X-Request-ID",
        generator=lambda: uuid4().hex,
        validator=lambda sent: ID_PATTERN.fullmatch(sent) is not None,
        transformer=str,
    )
    app.add_middleware(FramesPast)
    return app


app = _build()
# Chainlit's command line names this module by its file.
if __name__.endswith("app.py"):
    serve_under_chainlit(app, lifespan, reload_plugins)
