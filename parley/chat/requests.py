"""Requests: what a surface asks for, checked, and made into a turn about to be written. Pure."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from parley.chat.errors import InvalidRequest, RateLimited, TooLarge
from parley.chat.extras import check_abilities, check_extras, digestible
from parley.chat.messages import Role, storable_text
from parley.chat.models import ModelInfo
from parley.chat.turns import Answer, NewTurn, Turn, TurnRequest, TurnState
from parley.observability.logs import current_request_id

_NAME_CHARS = 120


def check_request(
    request: TurnRequest, info: ModelInfo, limit_bytes: int, image_limit_bytes: int
) -> None:
    """Raise `InvalidRequest` or `TooLarge` for what cannot be kept, is over a limit, or cannot be.

    `info` is the model that is asked.
    """
    check_extras(request.extras, image_limit_bytes)
    check_abilities(request.extras, info)
    if not request.text.strip() and not _goes_on(request):
        raise InvalidRequest("The message is empty. Write something.")
    _check_text(request.text, "message", limit_bytes)
    if request.system_prompt is not None:
        _check_text(request.system_prompt, "system prompt", limit_bytes)


def _goes_on(request: TurnRequest) -> bool:
    """Whether the model is to go on from a tool's result, and not to answer a message."""
    return not request.keep and bool(request.earlier) and request.earlier[-1].role is Role.TOOL


def _check_text(text: str, what: str, limit_bytes: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"The {what} is not valid Unicode text.") from None
    if "\0" in text:
        raise InvalidRequest(f"The {what} has a NUL character in it. Remove it.")
    if size > limit_bytes:
        raise too_large(what, size, limit_bytes)


def too_large(what: str, size: int, limit_bytes: int) -> TooLarge:
    """Make the error of a text that has too many bytes."""
    return TooLarge(
        f"The {what} has {size} bytes, the limit is {limit_bytes} (LIMIT_MESSAGE_BYTES)."
    )


def too_many_running() -> RateLimited:
    """Make the error of an owner who may not run another turn now."""
    return RateLimited(
        "Too many of your answers are being written. Wait for one, or stop one.", retry_after_s=5
    )


def new_turn(
    request: TurnRequest, model: str, *, replica_id: str, max_running: int, max_queued: int
) -> NewTurn:
    """Give the request its ids, its digest and its time."""
    turn_id = str(uuid4())
    return NewTurn(
        id=turn_id,
        thread_id=request.thread_id,
        owner=request.owner,
        key=request.key or turn_id,
        digest=_digest(request),
        text=request.text,
        thread_name=thread_name(request.text),
        model=model,
        sampling=request.sampling,
        system_prompt=request.system_prompt,
        user_step_id=request.user_step_id or str(uuid4()),
        answer_step_id=str(uuid4()),
        replica_id=replica_id,
        created_at=datetime.now(UTC),
        max_running=max_running,
        max_queued=max_queued,
        replaces=request.replaces,
        extras=request.extras,
        request_id=current_request_id(),
    )


def begun_turn(new: NewTurn, parent_id: str | None, state: TurnState) -> Turn:
    """Make the turn that a new one is once it is begun: nothing of its answer is there."""
    return Turn(
        id=new.id,
        thread_id=new.thread_id,
        owner_id=new.owner.id,
        parent_id=parent_id,
        key=new.key,
        state=state,
        text=new.text,
        model=new.model,
        sampling=new.sampling,
        system_prompt=new.system_prompt,
        user_step_id=new.user_step_id,
        answer_step_id=new.answer_step_id,
        fence=1,
        stop_requested=False,
        created_at=new.created_at,
        answer=Answer(state=state),
        extras=new.extras,
        request_id=new.request_id,
    )


def unkept_turn(request: TurnRequest, new: NewTurn) -> Turn:
    """Make the turn of a request with `keep=False`: it runs, and no row knows of it."""
    turn = begun_turn(new, None, TurnState.RUNNING)
    return replace(turn, keep=False, earlier=request.earlier)


def thread_name(text: str) -> str:
    """Make a thread's name: one line, cut at a word."""
    line = storable_text(" ".join(text.split()))
    if len(line) <= _NAME_CHARS:
        return line
    return line[:_NAME_CHARS].rsplit(" ", 1)[0] + "…"


def _digest(request: TurnRequest) -> str:
    """What must be the same when a key comes again: all that the model is asked."""
    digest = hashlib.sha256()
    texts = (request.text, request.model or "", *filter(None, [request.replaces]))
    for part in (*map(str.encode, texts), *filter(None, [digestible(request.extras)])):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
