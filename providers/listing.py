"""Listing: the models that a server of OpenAI's dialect lists, and what it says they can do.

OpenAI itself says nothing but names. Others add windows and abilities, each in words of its own.
"""

from typing import Any

import msgspec

from parley.chat.models import Capabilities


class Listed(msgspec.Struct, frozen=True):
    """A model of the list; `owner` tells llama.cpp, Ollama and others apart."""

    name: str
    owner: str
    capabilities: Capabilities


class _Row(msgspec.Struct):
    id: str
    owned_by: Any = None
    max_model_len: Any = None  # vLLM
    context_length: Any = None  # OpenRouter, Together
    context_window: Any = None  # Groq
    max_context_length: Any = None  # Mistral
    meta: Any = None  # llama.cpp
    supported_parameters: Any = None  # OpenRouter
    architecture: Any = None  # OpenRouter, Hugging Face's router
    providers: Any = None  # Hugging Face's router
    capabilities: Any = None  # Mistral


class _List(msgspec.Struct):
    data: list[_Row]


def read_listing(document: bytes) -> list[Listed]:
    """Read a list; raises `msgspec.DecodeError` and `UnicodeDecodeError` for what is none."""
    return [_listed(row) for row in msgspec.json.decode(document, type=_List).data]


def _listed(row: _Row) -> Listed:
    can = row.capabilities if isinstance(row.capabilities, dict) else {}
    asked = row.supported_parameters if isinstance(row.supported_parameters, list) else []
    served = [p for p in row.providers or () if isinstance(p, dict)] if _many(row.providers) else []
    capabilities = Capabilities(
        context_window=_window(row, served),
        tools="tools" in asked
        or can.get("function_calling") is True
        or any(provider.get("supports_tools") is True for provider in served),
        vision=_sees(row.architecture) or can.get("vision") is True,
        reasoning="reasoning" in asked,
    )
    return Listed(row.id, str(row.owned_by or ""), capabilities)


def _window(row: _Row, served: list[dict[str, Any]]) -> int | None:
    meta = row.meta if isinstance(row.meta, dict) else {}
    named = (row.max_model_len, row.context_length, row.context_window, row.max_context_length)
    # What llama.cpp was started with; an old one says only what the model was trained with.
    told = [*named, meta.get("n_ctx"), meta.get("n_ctx_train")]
    first = next((n for n in told if isinstance(n, int) and n > 0), None)
    # The router may send a request to any of them.
    windows = [n for p in served if isinstance(n := p.get("context_length"), int) and n > 0]
    return first or min(windows, default=None)


def _sees(architecture: object) -> bool:
    kinds = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    return isinstance(kinds, list) and "image" in kinds


def _many(value: object) -> bool:
    return isinstance(value, list)
