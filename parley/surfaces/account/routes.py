"""Account: who somebody is here, their API keys, and where they are signed in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from parley.auth.api_keys import KeyWay, NewKey, make_key
from parley.auth.callers import Callers
from parley.auth.principal import Kind, Principal, Scope
from parley.auth.sign_ins import Desk
from parley.chat.errors import Forbidden, InvalidRequest, NotFound, ParleyError, Unauthenticated
from parley.chat.identities import ApiKeys, SignIns
from parley.observability.audit import audit
from parley.surfaces.account.html import Account, account_page, page_response
from parley.surfaces.account.revocation import Revocations
from parley.surfaces.account.shapes import (
    CallerShape,
    KeyList,
    KeyShape,
    MadeKeyShape,
    NewKeyBody,
    SignInList,
    SignInShape,
)
from parley.surfaces.account.visitors import SIGN_IN
from parley.surfaces.answers import json_answer
from parley.surfaces.http.bodies import NO_FORM, decode_body, read_form
from parley.surfaces.http.schema import giving, taking
from parley.surfaces.sentences import error_text
from parley.surfaces.texts import texts_asked_by

_FORM_BYTES = 64 * 1024
_MOST_KEYS = 50
_MOST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the routes of an account work with."""

    callers: Callers
    desk: Desk
    sign_ins: SignIns
    keys: ApiKeys
    key_way: KeyWay
    revocations: Revocations
    leave: Callable[[Request, Response], None]

    def person(self, request: Request) -> Principal:
        """Give who calls, if it is a user who signed in: no key makes or revokes another."""
        principal = self.callers.required(request)
        if principal.kind is not Kind.USER:
            raise Unauthenticated("Sign in first: guests have no account.")
        if principal.key_id:
            raise Forbidden("An API key cannot do this. Sign in, or use the command parley token.")
        return principal

    async def make_key(self, principal: Principal, asked: NewKeyBody) -> NewKey:
        """Make a key as it was asked for."""
        if not asked.name.strip() or len(asked.name) > 100 or not asked.scopes:
            raise InvalidRequest("A key needs a name of 1 to 100 characters, and a scope.")
        if asked.days is not None and not 1 <= asked.days <= _MOST_DAYS:
            raise InvalidRequest(f"A key lasts 1 to {_MOST_DAYS} days, or for ever without days.")
        for scope in asked.scopes:
            principal.require(scope)
        valid = [key for key in await self.keys.of_owner(principal.owner.id) if not key.revoked_at]
        if len(valid) >= _MOST_KEYS:
            raise InvalidRequest(f"You have {_MOST_KEYS} keys. Revoke one first.")
        days = timedelta(days=asked.days) if asked.days else None
        expires_at = datetime.now(UTC) + days if days else None
        new = make_key(principal.owner, asked.name.strip(), asked.scopes, expires_at)
        await self.keys.add(new.key, new.digest)
        _audit("key_made", principal, key_id=new.key.id, scopes=list(new.key.scopes))
        return new

    async def revoke_key(self, principal: Principal, key_id: str) -> None:
        """Revoke a key of the caller's; its sockets are closed."""
        key = await self.keys.revoke(principal.owner.id, key_id, datetime.now(UTC))
        self.key_way.forget()
        self.revocations.end([key.id])
        _audit("key_revoked", principal, key_id=key.id)

    async def end(self, principal: Principal, sign_in_id: str | None = None) -> None:
        """End a sign-in of the caller's, or all of them."""
        ended = await self.desk.end(principal.owner.id, sign_in_id)
        if sign_in_id and not ended:
            raise NotFound("There is no such sign-in.")
        _audit("signed_out", principal, count=len(ended))


def account_routes(accounts: Accounts, prefix: str, body_limit_bytes: int) -> APIRouter:
    """Make the JSON routes."""
    router = APIRouter(prefix=prefix, tags=["account"])

    @router.get("/me", summary="Say who is calling", responses=giving(CallerShape))
    async def me(request: Request) -> Response:
        return json_answer(CallerShape.of(accounts.callers.required(request)))

    @router.get("/keys", summary="List one's API keys", responses=giving(KeyList))
    async def keys(request: Request) -> Response:
        owner_id = accounts.person(request).owner.id
        mine = await accounts.keys.of_owner(owner_id)
        return json_answer(KeyList([KeyShape.of(key) for key in mine]))

    @router.post(
        "/keys",
        summary="Make an API key",
        status_code=201,
        responses=giving(MadeKeyShape, status=201),
        openapi_extra=taking(NewKeyBody),
    )
    async def make(request: Request) -> Response:
        principal = accounts.person(request)
        new = await accounts.make_key(
            principal, await decode_body(request, NewKeyBody, body_limit_bytes)
        )
        made = MadeKeyShape(**msgspec.structs.asdict(KeyShape.of(new.key)), key=new.text)
        return json_answer(made, 201)

    @router.delete(
        "/keys/{key_id}",
        summary="Revoke an API key",
        status_code=204,
        responses=giving(status=204),
    )
    async def revoke(request: Request, key_id: str) -> Response:
        await accounts.revoke_key(accounts.person(request), key_id)
        return Response(status_code=204)

    @router.get("/sign-ins", summary="List where one is signed in", responses=giving(SignInList))
    async def sign_ins(request: Request) -> Response:
        principal = accounts.person(request)
        found = await accounts.sign_ins.of_owner(principal.owner.id, datetime.now(UTC))
        mine = principal.sign_in_id
        return json_answer(SignInList([SignInShape.of(o, current=o.id == mine) for o in found]))

    @router.delete(
        "/sign-ins/{sign_in_id}",
        summary="Sign out elsewhere",
        status_code=204,
        responses=giving(status=204),
    )
    async def end(request: Request, sign_in_id: str) -> Response:
        await accounts.end(accounts.person(request), sign_in_id)
        return Response(status_code=204)

    return router


def account_pages(accounts: Accounts) -> APIRouter:
    """Make the page and what its forms do."""
    router = APIRouter(include_in_schema=False)

    @router.get("/account")
    async def account(request: Request) -> Response:
        principal = accounts.callers.known(request)
        if principal is None or principal.kind is not Kind.USER:
            return RedirectResponse(f"{SIGN_IN}?back_to=/account", 303)
        return await _page(accounts, request)

    @router.post("/account/keys")
    async def make(request: Request) -> Response:
        principal = accounts.person(request)
        try:
            new = await accounts.make_key(principal, await _key_form(request))
        except ParleyError as error:
            return await _page(accounts, request, refused=error)
        return await _page(accounts, request, new_key=new.text)

    @router.post("/account/keys/{key_id}/revoke")
    async def revoke(request: Request, key_id: str) -> Response:
        await accounts.revoke_key(accounts.person(request), key_id)
        return RedirectResponse("/account", 303)

    @router.post("/account/sign-ins/{sign_in_id}/end")
    async def end(request: Request, sign_in_id: str) -> Response:
        await accounts.end(accounts.person(request), sign_in_id)
        return RedirectResponse("/account", 303)

    @router.post("/account/sign-out-everywhere")
    async def end_all(request: Request) -> Response:
        await accounts.end(accounts.person(request))
        response = RedirectResponse(SIGN_IN, 303)
        response.headers.append("set-cookie", accounts.desk.goodbye())
        accounts.leave(request, response)
        return response

    return router


async def _page(
    accounts: Accounts,
    request: Request,
    *,
    new_key: str = "",
    refused: ParleyError | None = None,
) -> Response:
    principal, texts = accounts.person(request), texts_asked_by(request)
    owner = principal.owner
    sign_ins = await accounts.sign_ins.of_owner(owner.id, datetime.now(UTC))
    mine = next((one.profile for one in sign_ins if one.id == principal.sign_in_id), None)
    account = Account(
        name=principal.name or owner.identifier,
        detail=(mine.email if mine else "") or owner.identifier,
        picture=mine.picture if mine else "",
        keys=await accounts.keys.of_owner(owner.id),
        sign_ins=sign_ins,
        current_sign_in_id=principal.sign_in_id,
        may_administrate=Scope.ADMIN in principal.scopes,
        new_key=new_key,
        message=error_text(texts, refused.message, refused.code) if refused else "",
    )
    status = refused.status if refused else 200
    return page_response(account_page(account, texts), texts, status)


async def _key_form(request: Request) -> NewKeyBody:
    form = await read_form(request, _FORM_BYTES, 20)
    try:
        days = form.get("days", [""])[0]
        scopes = [Scope(scope) for scope in form.get("scope", [])]
        return NewKeyBody(form.get("name", [""])[0], scopes, int(days) if days else None)
    except ValueError:
        raise InvalidRequest(NO_FORM) from None


def _audit(event: str, principal: Principal, **details: Any) -> None:
    audit(event, identifier=principal.owner.identifier, **details)
