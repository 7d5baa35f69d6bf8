"""Identity, wired: what finds out who calls, built at import and opened with the database.

A part of the composition root (app.py) of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter

from data_layer.administration import SqlAdministration
from data_layer.adopting import SqlAdopter
from data_layer.api_keys import SqlApiKeys
from data_layer.database import Database
from data_layer.guest_sweep import GuestSweep
from data_layer.sign_ins import SqlSignIns
from data_layer.storage import Storage
from data_layer.writer import Writer
from parley.auth.addresses import Addresses
from parley.auth.api_keys import KeyWay
from parley.auth.callers import Callers, Way
from parley.auth.cookies import Cookies
from parley.auth.credentials import SignInCredentials
from parley.auth.guests import Guests
from parley.auth.header import HeaderWay
from parley.auth.oauth import OAuth
from parley.auth.seals import Seals
from parley.auth.sign_ins import Desk, SignInWay
from parley.chat.identities import NO_CREDENTIALS, Credentials
from parley.chat.ports import ContextStore
from parley.settings.build import Config
from parley.surfaces.account.entrance import Entrance
from parley.surfaces.account.framed import frame_routes
from parley.surfaces.account.leaving import leave, leaving_routes
from parley.surfaces.account.revocation import Revocations, watching
from parley.surfaces.account.routes import Accounts, account_pages, account_routes
from parley.surfaces.account.sign_in import sign_in_routes
from parley.surfaces.admin import admin_routes
from parley.surfaces.models import Models

_TOKENS = "provider token"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the middleware needs before anything is open."""

    config: Config
    addresses: Addresses
    cookies: Cookies
    guests: Guests
    callers: Callers
    revocations: Revocations


@dataclass(frozen=True, slots=True)
class Kept:
    """Where what identity keeps is kept, and the models that administrators look after."""

    database: Database
    writer: Writer
    storage: Storage
    contexts: ContextStore
    models: Models


def build_identity(config: Config) -> Identity:
    """Build what needs no database."""
    server = config.server
    addresses = Addresses(config.identity.proxies, behind_proxy=server.in_space)
    is_https = (server.public_url or "").startswith("https:")
    guests = Guests(config.secret, secure=is_https, framed=server.in_space)
    callers = Callers(config.secret, guests, allow_guests=server.allow_guests, addresses=addresses)
    cookies = Cookies(is_https, server.in_space)
    return Identity(config, addresses, cookies, guests, callers, Revocations())


def user_credentials(config: Config, database: Database, writer: Writer) -> Credentials:
    """Give the engine the users' own tokens, where a way to sign in brings some."""
    if not any(provider.keeps_token for provider in config.identity.providers):
        return NO_CREDENTIALS
    return SignInCredentials(SqlSignIns(database, writer), Seals(config.secret, _TOKENS))


@asynccontextmanager
async def open_identity(identity: Identity, kept: Kept) -> AsyncIterator[Sequence[APIRouter]]:
    """Recognise everybody from now on; gives the routes of signing in and of accounts."""
    config, callers = identity.config, identity.callers
    policy = config.identity.policy
    sign_ins = SqlSignIns(kept.database, kept.writer)
    keys = SqlApiKeys(kept.database, kept.writer)
    desk = Desk(sign_ins, identity.cookies)
    desk.on_end(identity.revocations.end)
    identity.revocations.renew = desk.find
    seals = Seals(config.secret, _TOKENS)
    adopter = SqlAdopter(kept.database, kept.writer, kept.storage, kept.contexts)
    key_way = KeyWay(keys, policy, allow_guests=config.server.allow_guests)
    header = config.identity.header
    ways: list[Way] = [key_way]
    if header:
        ways.append(HeaderWay(header, identity.addresses, desk, policy))
    callers.use([*ways, SignInWay(desk, policy)])
    entrance = Entrance(
        callers=callers,
        desk=desk,
        oauth=OAuth(config.identity.providers, sign_ins, seals),
        policy=policy,
        guests=identity.guests,
        adopter=adopter,
        cookies=identity.cookies,
        public_url=config.server.public_url,
        allow_guests=config.server.allow_guests,
        seals=Seals(config.secret, "sign-out at the provider"),
        in_frame=config.server.in_space,
    )
    leaves = partial(leave, entrance)
    accounts = Accounts(callers, desk, sign_ins, keys, key_way, identity.revocations, leaves)
    async with watching(identity.revocations, sign_ins), asyncio.TaskGroup() as tasks:
        adopting = tasks.create_task(adopter.run())
        sweep = GuestSweep(
            kept.database, kept.writer, kept.storage, kept.contexts, config.identity.guest_days
        )
        sweeping = tasks.create_task(sweep.run())
        try:
            yield (
                sign_in_routes(entrance),
                frame_routes(entrance, sign_ins),
                leaving_routes(entrance),
                account_pages(accounts),
                account_routes(accounts, config.server.api_v1, config.server.body_limit_bytes),
                admin_routes(
                    SqlAdministration(kept.database),
                    kept.models,
                    callers,
                    config.server.api_v1,
                    can_read=config.identity.admin_can_read,
                ),
            )
        finally:
            adopting.cancel()
            sweeping.cancel()
