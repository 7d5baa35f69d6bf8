"""File shape: which keys `parley.toml` has, and what may stand there."""

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from parley.settings.identity import WebUrl

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _model_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", value):
        raise ValueError("an id is 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("the name of a variable of the environment, never the key itself")
    return value


Word = Annotated[str, Field(min_length=1, max_length=300)]
Count = Annotated[int, Field(ge=1)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ModelShape(_Shape):
    """A row of ``[models]``."""

    provider: Word
    model: Word | None = None
    label: Word | None = None
    base_url: WebUrl | None = None
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None
    context_window: Count | None = None
    fallbacks: list[str] = Field(default_factory=list)
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tools: bool | None = None
    use_tools: list[Word] | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    prefill: bool | None = None
    max_concurrent: Count | None = None
    system_prompt: Annotated[str, Field(min_length=1)] | None = None


class StarterShape(_Shape):
    """An item of ``[[starters]]``."""

    label: Word
    message: Annotated[str, Field(min_length=1)]


class ProfileShape(_Shape):
    """An item of ``[[profiles]]``."""

    label: Word
    description: str = ""
    model: Word | None = None
    system_prompt: Annotated[str, Field(min_length=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    starters: list[StarterShape] = Field(default_factory=list)


class FileShape(_Shape):
    """The whole file."""

    default_model: Word | None = None
    models: dict[Annotated[str, AfterValidator(_model_id)], ModelShape] = Field(
        default_factory=dict
    )
    starters: list[StarterShape] = Field(default_factory=list)
    profiles: list[ProfileShape] = Field(default_factory=list)
    plugins: list[Word] = Field(default_factory=list)


def drop(document: dict[str, Any], details: Any) -> None:
    """Take what is wrong out of the document, so that the rest can be read."""
    *way, last = [part for part in details["loc"] if part != "[key]"]
    if details["type"] == "missing":
        *way, last = way
    inside: Any = document
    for part in way:
        inside = inside[part] if _has(inside, part) else {}
    if isinstance(inside, list):
        # Emptied, not shortened: the places of other problems stay what they are.
        inside.clear()
    elif _has(inside, last):
        del inside[last]


def _has(inside: Any, part: object) -> bool:
    if isinstance(inside, list):
        return isinstance(part, int) and part < len(inside)
    return isinstance(inside, dict) and part in inside


def keys_beside(where: list[str]) -> set[str]:
    """The keys that are known where one is that is not."""
    shapes: dict[tuple[str, int], type[BaseModel]] = {
        ("models", 3): ModelShape,
        ("starters", 3): StarterShape,
        ("profiles", 3): ProfileShape,
        ("profiles", 5): StarterShape,
    }
    return set(shapes.get((where[0], len(where)), FileShape).model_fields)


def nearest(word: str, known: set[str]) -> str:
    """Name the known word that was meant, or else all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known are: {', '.join(sorted(known))}." if known else "There is none yet."
