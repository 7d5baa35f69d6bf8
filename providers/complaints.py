"""Complaints: what model servers say when they refuse or fail, and which error that is.

Shapes and phrases were collected from OpenAI, TGI (router 3.3), vLLM, llama.cpp, FastAPI servers
and Gemini's OpenAI endpoint, which wraps its errors in a list.
"""

import re
from dataclasses import dataclass

import msgspec

from parley.chat.errors import (
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    ModelMissing,
    Overloaded,
    ProviderError,
    ProviderFault,
    RequestRefused,
)

MAX_SAID_CHARS = 300
WEB_PAGE = "a web page"

_BY_STATUS: dict[int, type[ProviderError]] = {
    401: CredentialsRefused,
    402: CredentialsRefused,  # Hugging Face, OpenRouter: what the key may spend is spent
    403: CredentialsRefused,
    408: Overloaded,
    424: ProviderFault,  # TGI: the generation failed
    429: Overloaded,
    503: Overloaded,
    529: Overloaded,
}

_OVERFLOW = (
    r"context[_ ](length|window|size)|too many tokens|(prompt|input) is too long"
    r"|max_new_tokens. must be <=|inputs. must have less than|input token count.{0,60}exceeds"
)
# The first that matches counts: an overflow is also an invalid request.
_BY_TEXT: tuple[tuple[type[ProviderError], re.Pattern[str]], ...] = tuple(
    (error, re.compile(pattern, re.IGNORECASE))
    for error, pattern in (
        (ContextOverflow, _OVERFLOW),
        (ContentFiltered, r"content_filter|content_policy|content management policy"),
        (
            CredentialsRefused,
            r"invalid_api_key|authentication_?error|api key not valid|(invalid|incorrect) api key",
        ),
        (ModelMissing, r"model_not_found|model\b.{0,120}\b(does not exist|not found)"),
        (Overloaded, r"overloaded|rate.?limit|too many requests|quota|resource_exhausted"),
        (ProviderFault, r"(server|internal)_?error|during generation|incomplete.generation"),
        (RequestRefused, r"validation|invalid_?(request|argument)|bad_?request"),
    )
)
# Hugging Face's, OpenAI's and Google's: some servers repeat what they refuse.
_TOKEN = re.compile(r"\b(hf_|sk-|AIza)[\w-]{8,}")
# That an address is not there says nothing of the model whose name is in it.
_PATH = re.compile(r"(?<!\S)(https?:/)?/\S+")
_REFUSALS = frozenset({ContextOverflow, ContentFiltered, CredentialsRefused, ModelMissing})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a server said: its text, its code words, the status it named inside a body."""

    text: str = ""
    words: str = ""
    status: int | None = None


def read_body(body: bytes) -> Complaint:
    """Read the body of a refusal: JSON of any known shape, a web page's title, or plain text."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode(errors="replace")
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title.group(1) if title else text
        return Complaint(WEB_PAGE if text.lstrip().startswith("<") else text)
    match payload:
        case {"message": str(message)} | {"msg": str(message)}:  # Kong, AWS
            return read_payload(payload) or Complaint(message)
        case _:
            return read_payload(payload) or Complaint()


def read_payload(payload: object) -> Complaint | None:
    """Find the complaint in a JSON value; None if there is none."""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if isinstance(payload, str):
        return Complaint(payload)
    error = _error_in(payload) if isinstance(payload, dict) else None
    return _from_mapping(error) if error else None


def by_status(status: int, complaint: Complaint) -> type[ProviderError]:
    """Classify by HTTP status, and by text only what the status leaves open."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return ProviderFault
    if status == 404 and "model" in _PATH.sub("", complaint.text).lower():
        return ModelMissing
    said = by_text(complaint)
    return said if said in _REFUSALS else RequestRefused


def in_stream(complaint: Complaint) -> type[ProviderError]:
    """Classify an error event, by text first: TGI's chat says 422 even when it is overloaded."""
    said = by_text(complaint)
    if said is None and complaint.status is not None and complaint.status >= 400:
        said = by_status(complaint.status, complaint)
    return said or ProviderFault


def by_text(complaint: Complaint) -> type[ProviderError] | None:
    """Classify by code words and phrases; None if nothing is known of them."""
    said = f"{complaint.words} {complaint.text}"
    return next((error for error, pattern in _BY_TEXT if pattern.search(said)), None)


def one_line(text: str, *secrets: str | None) -> str:
    """Make foreign text fit for a message: one bounded line, printable, without the secrets."""
    text = without(text, *secrets)
    text = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_SAID_CHARS])
    text = " ".join(text.split())
    return text if len(text) <= MAX_SAID_CHARS else text[:MAX_SAID_CHARS] + "…"


def without(text: str, *secrets: str | None) -> str:
    """Hide the secrets in a text, and what looks like a key."""
    text = _TOKEN.sub("[key]", text)
    for secret in secrets:
        # A key of a few characters ("-", "EMPTY") is a placeholder, and could be part of any word.
        if secret and len(secret) >= 8:
            text = text.replace(secret, "[key]")
    return text


def _error_in(payload: dict[str, object]) -> dict[str, object] | None:
    match payload:
        case {"error": dict(error)} | {"errors": [dict(error), *_]}:  # the list is Cloudflare's
            return error
        case {"error": str(text)}:  # TGI, with `error_type` beside it
            return payload | {"message": text}
        case {"object": "error"} | {"message": str(), "code": _} | {"message": str(), "status": _}:
            return payload  # older vLLM; gateways
        case {"detail": detail}:  # FastAPI
            return {"message": detail if isinstance(detail, str) else str(detail)}
        case _:
            return None


def _from_mapping(error: dict[str, object]) -> Complaint:
    words = [str(error[key]) for key in ("code", "type", "error_type", "status") if error.get(key)]
    numbers = (error.get("http_status_code"), error.get("code"), error.get("status"))
    status = next((int(str(n)) for n in numbers if re.fullmatch("[1-5][0-9]{2}", str(n))), None)
    return Complaint(str(error.get("message") or " ".join(words)), " ".join(words), status)
