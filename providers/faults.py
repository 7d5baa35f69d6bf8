"""Faults: provider errors with a message that says what happened and what to change."""

import errno
import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    TimedOut,
    Unreachable,
)
from providers.complaints import by_status, in_stream, one_line, read_body, read_payload
from providers.config import Connection
from providers.frames import Frame
from providers.secret_parts import secrets_of

CLOSED = "the connection was closed"
MAX_RETRY_AFTER_S = 3600.0
# Dialects whose addresses end in no version.
_ROOTED = frozenset({"tgi"})
# What a server of the right kind refuses a request with, in JSON: its address is no matter.
_UNDERSTOOD = frozenset({400, 413, 422})
_VERSIONED = re.compile(r"/v\d\w*$")

_HAPPENED: dict[type[ProviderError], str] = {
    BrokenStream: "ended the stream before the answer was complete",
    ContentFiltered: "refused the request by its content filter",
    ContextOverflow: "says that the request exceeds the model's context window",
    CredentialsRefused: "does not accept the key",
    ModelMissing: "does not have the model",
    Overloaded: "has no capacity now, or limits our rate",
    ProtocolViolation: "answered something that is not its protocol",
    ProviderFault: "failed",
    RequestRefused: "does not accept the request",
    Unreachable: "cannot be reached",
}
_ADVICE: dict[type[ProviderError], str] = {
    BrokenStream: "Try again.",
    ContentFiltered: "Rephrase the message.",
    ContextOverflow: "Shorten the message, or lower MAX_HISTORY_TOKENS.",
    CredentialsRefused: "Check {connection.key_setting}.",
    ModelMissing: "Check {connection.model_setting}.",
    Overloaded: "Try again later.",
    ProtocolViolation: "Check {connection.url_setting}.",
    ProviderFault: "Try again, and look into its log.",
    RequestRefused: "Check {connection.url_setting} and {connection.model_setting}.",
    Unreachable: "Check {connection.url_setting}, and that the server runs.",
}
_WAITED: dict[str, str] = {
    "connect": "did not accept a connection",
    "first_event": "did not begin to answer",
    "idle": "went silent in its answer",
    "total": "did not finish its answer",
}


def fault(
    error: type[ProviderError],
    connection: Connection,
    said: str = "",
    *,
    status: int | None = None,
    quotes: bool = False,
    advice: str = "",
) -> ProviderError:
    """Make an error of this class; `said` may be foreign text, secrets and control characters.

    With `quotes` it is the provider's, who may repeat what it was asked: no log has it then.
    `advice` says what to do where no setting is wrong.
    """
    advice = advice or _ADVICE[error].format(connection=connection)
    return _made(error, connection, (_HAPPENED[error], said, advice), status, quotes=quotes)


def key_wanted(
    connection: Connection, said: str, status: int | None = None, *, quotes: bool = False
) -> ProviderError:
    """Make the error of a refusal where no key had been sent."""
    words = ("wants a key, and none is set", said, f"Set {connection.key_setting}.")
    return _made(CredentialsRefused, connection, words, status, quotes=quotes)


def _made(
    error: type[ProviderError],
    connection: Connection,
    words: tuple[str, str, str],
    status: int | None,
    *,
    quotes: bool,
) -> ProviderError:
    """Make an error of what happened, what was said of it, and what to do."""
    happened, said, advice = words
    said = one_line(said, *secrets_of(connection))
    happened = f"{connection.name} {happened}" + (f" ({status})" if status else "")
    shortly = f"{happened}. {advice}"
    return error(
        f"{happened}: {said.rstrip('.')}. {advice}" if said else shortly,
        provider=connection.name,
        upstream_status=status,
        for_log=shortly if quotes else "",
    )


def timed_out(connection: Connection, phase: str) -> TimedOut:
    """Make the error of a deadline that passed; `phase` is a key of the table above."""
    seconds = getattr(connection.deadlines, f"{phase}_s")
    setting = connection.deadline_setting.format(phase.upper())
    advice = "Try again, or"
    if phase == "connect":  # an address that nobody is at is silent too
        advice = f"Check {connection.url_setting}, and that the server runs, or"
    message = (
        f"{connection.name} {_WAITED[phase]} within {seconds:g} seconds. {advice} raise {setting}."
    )
    return TimedOut(message, phase=phase, provider=connection.name)


def unanswered(connection: Connection, seconds: float) -> TimedOut:
    """Make the error of a short question, for models or health, whose time is up."""
    message = (
        f"{connection.name} did not answer a short question within {seconds:g} seconds."
        f" Check {connection.url_setting}, and that the server runs."
    )
    return TimedOut(message, phase="first_event", provider=connection.name)


def refusal(
    connection: Connection,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keyed: bool = True,
) -> ProviderError:
    """Make the error of an answer whose status is not success; `keyed`: a key had been sent."""
    complaint = read_body(body)
    error = by_status(status, complaint)
    said, quotes, advice = complaint.text, True, ""
    if 300 <= status < 400:
        place = _place(headers.get("Location", "")) or "an address that it does not name"
        said = f"it redirects to {place}, which is not followed with a key"
        quotes = False
    elif status == 404 and error is RequestRefused:
        hinted = connection.name in _ROOTED or _VERSIONED.search(connection.base_url)
        hint = "" if hinted else ", which usually ends in /v1"
        said = f"nothing is at this address{hint} ({said or 'no body'})"
    elif error is RequestRefused and status in _UNDERSTOOD and body.lstrip()[:1] in {b"{", b"["}:
        advice = f"Change what it names, or check {connection.model_setting}."
    if error is CredentialsRefused and not keyed:
        made = key_wanted(connection, said, status, quotes=quotes)
    else:
        made = fault(error, connection, said, status=status, quotes=quotes, advice=advice)
    made.retry_after_s = retry_after(headers.get("Retry-After"))
    return made


def event_fault(connection: Connection, payload: object) -> ProviderError | None:
    """Make the error that an event carries; None if it carries none."""
    complaint = read_payload(payload)
    if complaint is None:
        return None
    error, status = in_stream(complaint), complaint.status
    return fault(error, connection, complaint.text, status=status, quotes=True)


def frame_fault(connection: Connection, frame: Frame, *, certain: bool) -> ProviderError | None:
    """Make the error that a frame holds; `certain` says that it does, in whatever shape."""
    payload = frame.payload
    error = event_fault(connection, payload)
    if error is None and certain:
        error = event_fault(connection, {"error": payload}) or fault(ProviderFault, connection)
    return error


def network_fault(connection: Connection, exc: Exception, phase: str) -> ProviderError:
    """Translate what aiohttp raises, and the timeout of what was done in this phase."""
    error: type[ProviderError] = BrokenStream
    said = str(exc)
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return timed_out(connection, "connect")
        case TimeoutError():
            return timed_out(connection, phase)
        case aiohttp.ClientConnectorError():
            return _unreachable(connection, exc)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            error, said = Unreachable, "its address is not a URL"
        case aiohttp.ClientResponseError():
            error, said = ProtocolViolation, exc.message
        # aiohttp's own words are of its parser, and of a 400 that nobody sent.
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            said = "its body is not compressed as it says"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            said = CLOSED
        # aiohttp's own words of a request that broke off have its whole address.
        case OSError(errno=number):
            said = os.strerror(number) if number and number in errno.errorcode else CLOSED
        case _:
            pass
    return fault(error, connection, said)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date, as seconds up to a ceiling."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return min(max(0.0, math.ceil(seconds)), MAX_RETRY_AFTER_S)


def _place(location: str) -> str:
    """Where a redirect leads, without what may be a secret of it."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _unreachable(connection: Connection, exc: aiohttp.ClientConnectorError) -> ProviderError:
    """Say why; where to, an address behind ours, is for the log and for nobody who chats."""
    reason = reason_of(exc)
    error = fault(Unreachable, connection, reason)
    placed = fault(Unreachable, connection, f"{exc.host}:{exc.port}, {reason}").message
    error.for_log = error.for_operator = placed
    return error


def reason_of(exc: aiohttp.ClientConnectorError) -> str:
    """Say why there is no connection, without the address that there is none to."""
    number = exc.errno or 0
    if number in errno.errorcode and not isinstance(exc, aiohttp.ClientSSLError):
        return os.strerror(number)  # asyncio's own words have the address
    said = exc.strerror or str(exc.os_error) or type(exc.os_error).__name__
    return said.replace(f"'{exc.host}'", "its address")
