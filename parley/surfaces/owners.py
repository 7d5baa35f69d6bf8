"""Owners: whose turns and conversations a request is about."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from starlette.requests import Request

from parley.auth.callers import Callers
from parley.auth.principal import Scope
from parley.chat.errors import NotFound, Unauthenticated
from parley.chat.turns import Owner
from parley.surfaces.http.ids import ID_PATTERN

T = TypeVar("T")
# One's own words, also to a cache between us.
PRIVATE = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


def owner_of_api(request: Request, callers: Callers, scope: Scope) -> tuple[Owner, dict[str, str]]:
    """Give who calls, and the headers of the answer: a new guest gets its cookie.

    Raises `Unauthenticated` and `Forbidden`.
    """
    principal, cookie = callers.of_api(request)
    principal.require(scope)
    return principal.owner, PRIVATE | ({"set-cookie": cookie} if cookie else {})


def owners_of_turn(request: Request, callers: Callers, scope: Scope) -> Sequence[Owner]:
    """Recognise a caller, or one of ``/chat`` by the session id that it talks under.

    Under a new secret that caller is a new owner, and still the one before. Raises
    `Unauthenticated` and `Forbidden`.
    """
    session_id = request.headers.get("x-session-id")
    if session_id is not None and ID_PATTERN.fullmatch(session_id):
        session = callers.of_session(request, session_id)
        return [each.owner for each in (session.before, session) if each]
    principal = callers.known(request)
    if principal is None:
        raise Unauthenticated("Nobody is known to be calling: send a cookie or X-Session-Id.")
    principal.require(scope)
    return [principal.owner]


async def first_found(owners: Sequence[Owner], find: Callable[[str], Awaitable[T]]) -> T:
    """Ask for each owner's until one has it; raises `NotFound`."""
    *before, last = owners
    for owner in before:
        with suppress(NotFound):
            return await find(owner.id)
    return await find(last.id)


def uuid_or_missing(text: str, what: str) -> str:
    """Give an id of ours as we write it; what cannot be one leads to nothing: `NotFound`."""
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound(f"There is no such {what}.") from None
