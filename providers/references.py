"""References: how a GGUF file is named, by a path or as ``org/repo:file.gguf`` on the Hub."""

import re
from dataclasses import dataclass

from typing_extensions import override

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIX = ".gguf"
# Eyes for another model, and no model.
_PROJECTOR = "mmproj"


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of a repository on the Hub; without `file`, the one that suits best."""

    repo: str
    file: str | None = None

    @override
    def __str__(self) -> str:
        return f"{self.repo}:{self.file}" if self.file else self.repo


def is_path(model: str) -> bool:
    """Whether a model is named by a path, and not by a repository on the Hub."""
    return read_reference(model) is None or (":" not in model and model.endswith(_SUFFIX))


def read_reference(model: str) -> Reference | None:
    """Read ``org/repo`` or ``org/repo:file.gguf``; None for what is neither."""
    repo, _, file = model.strip().partition(":")
    if not _REPO.fullmatch(repo) or ".." in f"{repo}/{file}".split("/"):
        return None
    if file and (not file.endswith(_SUFFIX) or file.startswith("/") or "\\" in file):
        return None
    return Reference(repo, file or None)


def model_name(model: str) -> str:
    """Name a model for people: a path by its file's name, which tells nobody where it is."""
    return re.split(r"[/\\]", model)[-1].removesuffix(_SUFFIX) if is_path(model) else model


def is_model(file: str) -> bool:
    """Whether a file of a repository is, by its name, a model that can answer."""
    name = file.lower().rpartition("/")[2]
    return name.endswith(_SUFFIX) and not name.startswith(_PROJECTOR)
