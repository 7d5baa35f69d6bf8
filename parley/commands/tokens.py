"""The commands `token create`, `token list` and `token revoke`: API keys from the shell."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from data_layer.api_keys import SqlApiKeys
from data_layer.database import Database, open_database
from data_layer.export import find_user
from data_layer.migrate import check_schema
from data_layer.people import put_user
from data_layer.writer import Writer, open_writer
from parley.auth.api_keys import make_key
from parley.auth.principal import CHATTING, Scope
from parley.chat.errors import NotFound
from parley.chat.identities import ApiKey
from parley.chat.turns import Owner
from parley.commands.database import prepared, told
from parley.observability.audit import audit
from parley.settings.build import Config

tokens_cli = typer.Typer(no_args_is_help=True, help="API keys.")

User = Annotated[str, typer.Option("--user", help="The user's identifier or id.")]


@tokens_cli.command("create")
def create_command(
    user: User,
    name: Annotated[str, typer.Option(help="What it is for.")] = "command line",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do, once for each; by default read and chat."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How long it lasts; by default until it is revoked.")
    ] = None,
) -> None:
    """Make a key and print it, this once; a user whom nobody knows yet is made with it."""
    config = prepared()
    with told(config):
        typer.echo(asyncio.run(_create(config, user, name, scope or sorted(CHATTING), days)))


async def _create(
    config: Config, who: str, name: str, scopes: Sequence[Scope], days: int | None
) -> str:
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    async with _opened(config) as (database, writer):
        owner = await _owner(database, writer, who)
        new = make_key(owner, name, scopes, expires_at)
        await SqlApiKeys(database, writer).add(new.key, new.digest)
    audit("key_made", identifier=owner.identifier, key_id=new.key.id, by="command line")
    return new.text


@tokens_cli.command("list")
def list_command(user: User) -> None:
    """List a user's keys; what they are themselves is kept nowhere."""
    config = prepared()
    with told(config):
        keys = asyncio.run(_list(config, user))
    for key in keys:
        typer.echo("\t".join(_columns(key)))
    if not keys:
        typer.echo("No keys.", err=True)


async def _list(config: Config, who: str) -> Sequence[ApiKey]:
    async with _opened(config) as (database, writer):
        user = await find_user(database, who)
        return await SqlApiKeys(database, writer).of_owner(user.id)


def _columns(key: ApiKey) -> Sequence[str]:
    state = "valid"
    if key.revoked_at:
        state = f"revoked {_time(key.revoked_at)}"
    elif key.expires_at:
        is_over = key.expires_at <= datetime.now(UTC)
        state = f"{'expired' if is_over else 'until'} {_time(key.expires_at)}"
    used = f"used {_time(key.used_at)}" if key.used_at else "never used"
    return key.id, f"{key.hint}…", key.name, ",".join(key.scopes), state, used


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}Z"


@tokens_cli.command("revoke")
def revoke_command(
    user: User, key: Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]
) -> None:
    """Revoke a key; servers that run notice it within a second."""
    config = prepared()
    with told(config):
        revoked = asyncio.run(_revoke(config, user, key))
    typer.echo(f"Revoked {revoked.hint}… ({revoked.name}).")


async def _revoke(config: Config, who: str, key_id: str) -> ApiKey:
    async with _opened(config) as (database, writer):
        user = await find_user(database, who)
        key = await SqlApiKeys(database, writer).revoke(user.id, key_id, datetime.now(UTC))
    audit("key_revoked", identifier=user.identifier, key_id=key.id, by="command line")
    return key


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Database, Writer]]:
    async with open_database(config.database) as database:
        await check_schema(database)
        async with open_writer(database) as writer:
            yield database, writer


async def _owner(database: Database, writer: Writer, who: str) -> Owner:
    try:
        user = await find_user(database, who)
    except NotFound:
        user = await put_user(writer, who, {})
    return Owner(user.id, user.identifier)
