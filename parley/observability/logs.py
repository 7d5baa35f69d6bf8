"""Logs: one line an event, JSON in production, readable in development.

Lines of uvicorn, Chainlit, SQLAlchemy and every other library go the same way. Message text and
secrets are never logged: whoever logs passes ids, sizes and times.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import structlog
from asgi_correlation_id import correlation_id
from structlog.stdlib import BoundLogger
from structlog.typing import Processor

# Talkative libraries: what they say at INFO is theirs, and httpx's has URLs in it.
_QUIETED = (
    *("httpx", "httpx2", "httpcore", "httpcore2"),
    *("engineio", "socketio", "watchfiles", "aiosqlite", "alembic"),
)
_SECRET_WORDS = ("authorization", "cookie", "password", "secret", "token", "api_key")
# Control characters and what else ends a line somewhere: nobody's text begins a line here.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much is logged, and in what form."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: Literal["console", "json"] = "console"


def get_logger(name: str) -> BoundLogger:
    """Make a logger; `name` is the module's."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logs(config: LogConfig, stream: TextIO | None = None) -> None:
    """Send every logger of the process to one stream, by default standard error."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_request_id,
        structlog.processors.format_exc_info,
        _redacted,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(config.level)),
        cache_logger_on_first_use=True,
    )
    last: Processor = _render_console
    if config.format == "json":
        last = structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _ordered,
            last,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    _take_over(handler, config.level)


def _take_over(handler: logging.Handler, level: str) -> None:
    """Make `handler` the only one: libraries that added their own lose it."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    for name in _QUIETED:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The access log repeats what the turn's line says; refusals have a line of their own.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def current_request_id() -> str:
    """Give the id under which what is logged now is found; empty outside of a request."""
    return correlation_id.get() or ""


def _with_request_id(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    entry.setdefault("request_id", correlation_id.get() or "-")
    return entry


def _redacted(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        # Counts of tokens are no tokens.
        named = any(word in key.lower() for word in _SECRET_WORDS)
        if named and not isinstance(value, int | float | None):
            entry[key] = "***"
    return entry


def _ordered(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    first = {
        "timestamp": entry.pop("timestamp", ""),
        "level": str(entry.pop("level", "")).upper(),
        "request_id": entry.pop("request_id", "-"),
        "name": entry.pop("logger", ""),
        "message": entry.pop("event", ""),
    }
    return {**first, **entry}


def _render_console(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> str:
    moment = str(entry.pop("timestamp"))[:19].replace("T", " ")
    level, request_id = entry.pop("level"), entry.pop("request_id")
    name, message = entry.pop("name"), entry.pop("message")
    exception = entry.pop("exception", None)
    details = "".join(f" - {key}: {value}" for key, value in entry.items())
    # Libraries write whole tracebacks as their message: its further lines are indented.
    first, *more = str(message).rstrip().split("\n")
    line = f"{moment} - {level} - [{request_id}] - {name} - {first}{details}"
    lines = [line, *(f"    {part}" for part in more)]
    text = "\n".join(_UNPRINTABLE.sub(_escaped, part) for part in lines)
    return f"{text}\n{exception}" if exception else text


def _escaped(match: re.Match[str]) -> str:
    """Write a character as Python does: what a client sent must not begin a line of its own."""
    return match[0].encode("unicode_escape").decode()
