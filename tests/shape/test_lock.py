"""requirements.lock is what `make run`, `make test` and the image install: complete, and verifiable by hash."""

import re
from dataclasses import dataclass
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.shape.source import ROOT, pyproject

LOCK = (ROOT / "requirements.lock").read_text()


@dataclass(frozen=True)
class Locked:
    """One block of the lock: a requirement and the lines that belong to it."""

    requirement: Requirement
    hashes: int


def _locked() -> list[Locked]:
    blocks = re.findall(r"^[^\s#].*(?:\n[ \t].*)*", LOCK, re.MULTILINE)
    return [
        Locked(Requirement(block.split("\\\n")[0].strip()), block.count("--hash=sha256:"))
        for block in blocks
    ]


def _declared() -> list[Requirement]:
    project = pyproject()
    extras = project["project"].get("optional-dependencies", {})
    groups = project.get("dependency-groups", {})
    lines = chain(project["project"]["dependencies"], *extras.values(), *groups.values())
    # A group may name another one, whose lines are among these too.
    return [Requirement(line) for line in lines if isinstance(line, str)]


def test_every_requirement_is_pinned_and_hashed() -> None:
    assert len(_locked()) > len(_declared())
    for locked in _locked():
        assert [pin.operator for pin in locked.requirement.specifier] == ["=="], locked
        assert locked.hashes, locked


def test_names_no_place_to_download_from() -> None:
    """Where packages come from is the machine's business: its index, its mirror."""
    assert re.search(r"://|^--|^-[a-z] ", LOCK, re.MULTILINE) is None


def test_every_declared_dependency_is_locked() -> None:
    pins = [locked.requirement for locked in _locked()]
    for declared in _declared():
        name = canonicalize_name(declared.name)
        versions = [pin.specifier for pin in pins if canonicalize_name(pin.name) == name]
        assert versions, f"{declared}: run make lock"
        for (pin,) in versions:
            assert declared.specifier.contains(pin.version), f"{declared}: run make lock"
