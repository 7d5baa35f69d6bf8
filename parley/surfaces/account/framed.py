"""Framed: who signed in in a tab goes on in the frame that opened it, as in a Hugging Face Space.

A provider shows its page in no frame, so the sign-in is in a tab; and what a browser keeps for a
site in another site's frame is apart from what it keeps for it elsewhere, so the tab's cookie is
not the frame's. The tab gets a code, for once and for two minutes, and tells it to the window that
opened it, if that is of this very site; where that is lost on the way, people type it.
"""

import secrets
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from parley.auth.api_keys import digest_of
from parley.auth.callers import Callers
from parley.auth.principal import Kind
from parley.auth.sign_ins import Identity
from parley.chat.errors import NotFound, ParleyError, Unauthenticated
from parley.chat.identities import SignIns, SignInState
from parley.observability.audit import audit
from parley.surfaces.account.entrance import FRAMED, Entrance, enter, own_path, ways_in
from parley.surfaces.account.html import frame_page, page_response
from parley.surfaces.http.bodies import read_form
from parley.surfaces.texts import texts_asked_by

_LASTS = timedelta(minutes=2)
_FORM_BYTES = 8 * 1024
# Without what people take for one another; 50 bits, for two minutes.
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 10
_WRONG = "This code is wrong, or was used, or is older than two minutes. Sign in again."


def frame_routes(entrance: Entrance, sign_ins: SignIns) -> APIRouter:
    """Make the routes; where no other site shows this one in a frame they lead nowhere."""

    def check() -> None:
        if not entrance.in_frame:
            raise NotFound("This is for a Hugging Face Space, in its frame.")

    router = APIRouter(include_in_schema=False, dependencies=[Depends(check)])

    @router.get(FRAMED)
    async def signed_in(request: Request, back_to: str = "/") -> Response:
        """Show a code for the frame to whoever has just signed in."""
        code = await _make_code(entrance.callers, sign_ins, request, own_path(back_to))
        texts = texts_asked_by(request)
        return page_response(frame_page(code, own_path(back_to), texts), texts)

    @router.post(FRAMED)
    async def go_on(request: Request) -> Response:
        """Sign the frame in."""
        form = await read_form(request, _FORM_BYTES, 5)
        try:
            identity, back_to = await _take_code(sign_ins, form.get("code", [""])[0])
            return await enter(entrance, request, identity, back_to)
        except ParleyError as error:
            return ways_in(entrance, request, "/", error)

    return router


async def _make_code(callers: Callers, sign_ins: SignIns, request: Request, back_to: str) -> str:
    principal = callers.known(request)
    if principal is None or principal.kind is not Kind.USER or not principal.sign_in_id:
        raise NotFound("Sign in first, from the page in the frame.")
    code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    now = datetime.now(UTC)
    state = SignInState(
        provider=FRAMED,
        browser_digest="",  # of no browser: it is for another one than it is made in
        nonce=principal.owner.id,
        verifier=principal.sign_in_id,
        back_to=back_to,
        expires_at=now + _LASTS,
    )
    await sign_ins.keep_state(_digest(code), state, now)
    return code


async def _take_code(sign_ins: SignIns, typed: str) -> tuple[Identity, str]:
    """Find who the code was given to, once; raises `Unauthenticated`."""
    code = "".join(char for char in typed.upper() if char in _LETTERS)
    now = datetime.now(UTC)
    state = await sign_ins.take_state(_digest(code)) if len(code) == _LENGTH else None
    if state is None or state.provider != FRAMED or state.expires_at <= now:
        audit("sign_in_refused", provider=FRAMED, reason="code")
        raise Unauthenticated(_WRONG)
    for sign_in in await sign_ins.of_owner(state.nonce, now):
        if sign_in.id == state.verifier:
            who = sign_in.owner.identifier, sign_in.provider, sign_in.profile
            return Identity(*who, sign_in.sealed_token), state.back_to
    audit("sign_in_refused", provider=FRAMED, reason="signed out meanwhile")
    raise Unauthenticated(_WRONG)


def _digest(code: str) -> str:
    return digest_of(f"{FRAMED}:{code}")
