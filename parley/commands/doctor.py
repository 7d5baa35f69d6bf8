"""The command `doctor`: what is wrong, and how to mend it."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Annotated

import typer

from parley.commands.doctor_providers import look_at_providers
from parley.commands.doctor_stores import look_at_database, look_at_redis, look_at_storage
from parley.commands.findings import Finding, as_json, as_lines, exit_code, look_at
from parley.observability.logs import LogConfig, configure_logs
from parley.settings.build import Config, load_config
from parley.settings.problems import EXIT_CODE, ConfigurationError

_ONE_ADDRESS = (
    "all come from the address of the proxy, and share their limits, or have none where it is on this machine:"
    " set AUTH_HEADER_TRUSTED_PROXIES to its network"
)
_STORE_S, _PROVIDERS_S, _ANSWERS_S = 12.0, 20.0, 120.0


def doctor_command(
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask each model for a few tokens, which may cost.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON in place of lines.")] = False,
) -> None:
    """Check the configuration, the stores and every provider, and say how to mend them."""
    try:
        config = load_config()
    except ConfigurationError as error:
        findings = [Finding("configuration", "bad", str(problem)) for problem in error.problems]
        _print(findings, json=json)
        raise typer.Exit(EXIT_CODE) from None
    configure_logs(LogConfig("CRITICAL"))  # what is wrong is said here, once
    findings = asyncio.run(_examine(config, ask=ask))
    _print(findings, json=json)
    if code := exit_code(findings):
        raise typer.Exit(code)


def _print(findings: Sequence[Finding], *, json: bool) -> None:
    typer.echo(as_json(findings) if json else as_lines(findings))


async def _examine(config: Config, *, ask: bool) -> list[Finding]:
    """Look at everything at once: what hangs holds nothing else up."""
    patience_s = _ANSWERS_S if ask else _PROVIDERS_S
    looks = await asyncio.gather(
        look_at("database", lambda: look_at_database(config.database), _STORE_S),
        look_at("files", lambda: look_at_storage(config.storage), _STORE_S),
        look_at("redis", lambda: look_at_redis(config.redis), _STORE_S),
        look_at("providers", lambda: look_at_providers(config.providers, ask=ask), patience_s),
    )
    environment = f"can be used, for {config.server.environment}"
    found = [Finding("configuration", "ok", environment), *look_at_guests(config)]
    return [*found, *chain.from_iterable(looks)]


def look_at_guests(config: Config) -> Sequence[Finding]:
    """Tell where guests cannot be told apart: behind what speaks HTTPS for a Parley that does not know it."""
    is_https = (config.server.public_url or "").startswith("https:")
    knows_proxy = config.server.in_space or config.identity.proxies
    if not (config.server.allow_guests and is_https) or knows_proxy:
        return []
    return [Finding("guests", "warn", _ONE_ADDRESS)]
