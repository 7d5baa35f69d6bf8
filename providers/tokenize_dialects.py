"""Tokenize dialects: how one kind of server counts, and how it says which model it has."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import msgspec


class _Tokens(msgspec.Struct):
    tokens: list[msgspec.Raw]


class _Token(msgspec.Struct):
    id: int


class _Counted(msgspec.Struct):
    count: int


class _Meta(msgspec.Struct, frozen=True):
    """What llama.cpp says of a model: where two are the same in all this, so are their tokens."""

    vocab_type: int | None = None
    n_vocab: int | None = None
    n_embd: int | None = None
    n_params: int | None = None
    size: int | None = None
    n_ctx_train: int | None = None


class _Listed(msgspec.Struct, frozen=True):
    id: str
    root: str | None = None  # vLLM, SGLang: what the name stands for
    parent: str | None = None
    meta: _Meta | None = None


class _List(msgspec.Struct):
    data: list[_Listed]


class _Info(msgspec.Struct, frozen=True):
    model_id: str
    model_sha: str | None = None


def _listed(document: bytes, model: str) -> object:
    listed = msgspec.json.decode(document, type=_List).data
    # llama.cpp answers for whatever name it is asked for.
    return next((row for row in listed if row.id == model), listed[0] if listed else None)


@dataclass(frozen=True, slots=True)
class TokenizeDialect:
    """How one kind of server is asked for the tokens of a text, and for what it says of a model.

    `said` raises `msgspec.DecodeError` for an answer that is none.
    """

    body: Callable[[str, str], dict[str, object]]
    read: Callable[[bytes], int]
    about: str = "/v1/models"
    said: Callable[[bytes, str], object] = _listed

    def tokens(self, document: bytes) -> int | None:
        """Read an answer to a text that is not empty; None for nonsense."""
        try:
            found = self.read(document)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return found if found > 0 else None

    def identity(self, document: bytes, model: str) -> str:
        """Shorten what the server says of its model; empty where that is nothing."""
        try:
            said = self.said(document, model)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        return short_digest(msgspec.json.encode(said)) if said is not None else ""


def short_digest(data: bytes) -> str:
    """Tell apart what is named; no secret, and no proof against anyone."""
    return blake2b(data, digest_size=4).hexdigest()


# In this order: vLLM's answer has a list of tokens too.
TOKENIZE_DIALECTS = (
    TokenizeDialect(
        lambda model, text: {"model": model, "prompt": text, "add_special_tokens": False},
        lambda document: msgspec.json.decode(document, type=_Counted).count,
    ),
    TokenizeDialect(
        lambda model, text: {"model": model, "content": text},
        lambda document: len(msgspec.json.decode(document, type=_Tokens).tokens),
    ),
    TokenizeDialect(
        lambda _, text: {"inputs": text},
        lambda document: len(msgspec.json.decode(document, type=list[_Token])),
        "/info",
        lambda document, _: msgspec.json.decode(document, type=_Info),
    ),
)
