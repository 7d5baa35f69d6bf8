"""Weights: which GGUF files are on this machine, by path or in the Hub's cache. Never fetches.

The cache is huggingface_hub's own (HF_HOME, HF_HUB_CACHE), laid out as it documents:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from providers.references import Reference, is_model, is_path, read_reference


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model that Parley proposes to whoever names none."""

    reference: Reference
    label: str
    licence: str
    about_bytes: int


# Apache-2.0, no gate, and small enough to answer on two old cores: a polite toy, and said to be.
DEFAULT = Suggestion(
    Reference("HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "smollm2-360m-instruct-q8_0.gguf"),
    "SmolLM2 360M Instruct (Q8_0)",
    "apache-2.0",
    386_000_000,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A GGUF file in the cache."""

    reference: Reference
    path: Path
    size_bytes: int


def cache_directory() -> Path:
    """Where huggingface_hub, and so everybody who uses it on this machine, keeps files."""
    return Path(constants.HF_HUB_CACHE)


def storage(repo: str, cache: Path | None = None) -> Path:
    """The directory of a repository in the cache."""
    return (cache or cache_directory()) / f"models--{repo.replace('/', '--')}"


def find_weights(model: str, cache: Path | None = None) -> Path | None:
    """Find a model's file on this machine; None where it is not. Asks nobody."""
    if is_path(model):
        path = Path(model).expanduser()
        return path if path.is_file() else None
    reference = read_reference(model)
    return None if reference is None else find_kept(reference, cache)


def find_kept(reference: Reference, cache: Path | None = None) -> Path | None:
    """Find a file in the cache: of the branch's present commit, else of the newest one there."""
    for snapshot in _snapshots(storage(reference.repo, cache)):
        if reference.file is None:
            found = next(iter(sorted(_gguf_in(snapshot))), None)
        else:
            found = snapshot / reference.file
        if found is not None and found.is_file():
            return found
    return None


def list_kept(cache: Path | None = None) -> list[Kept]:
    """List the GGUF files in the cache, each once, by name."""
    kept: dict[str, Kept] = {}
    for directory in sorted((cache or cache_directory()).glob("models--*--*")):
        repo = directory.name.removeprefix("models--").replace("--", "/", 1)
        for snapshot in _snapshots(directory):
            for path in sorted(_gguf_in(snapshot)):
                reference = Reference(repo, path.relative_to(snapshot).as_posix())
                kept.setdefault(str(reference), Kept(reference, path, path.stat().st_size))
    return list(kept.values())


def find_suggested(cache: Path | None = None) -> Reference | None:
    """Name the model to answer with where nobody named one: the suggested one, or the first kept."""
    if find_kept(DEFAULT.reference, cache) is not None:
        return DEFAULT.reference
    return next((kept.reference for kept in list_kept(cache)), None)


def _snapshots(directory: Path) -> list[Path]:
    """The commits of which something is there, the branch's present one first."""
    commits = [path for path in directory.glob("snapshots/*") if path.is_dir()]
    commits.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    ref = directory / "refs" / "main"
    main = ref.read_text().strip() if ref.is_file() else ""
    return sorted(commits, key=lambda path: path.name != main)


def _gguf_in(snapshot: Path) -> Iterator[Path]:
    """Files that are whole: a link whose blob is gone is none."""
    return (path for path in snapshot.rglob("*") if is_model(path.name) and path.is_file())
