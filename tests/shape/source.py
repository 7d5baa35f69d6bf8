"""The project's own source files, as the shape tests see them."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PRODUCT = ("parley", "providers", "data_layer")
TREES = (*PRODUCT, "tests", "benchmarks")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files() -> list[Path]:
    inside = (path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return [*filter(Path.exists, [ROOT / "app.py"]), *sorted(inside)]


def packages(*trees: str) -> list[Path]:
    """Directories with an `__init__.py`, the trees themselves included."""
    return sorted(init.parent for tree in trees for init in (ROOT / tree).rglob("__init__.py"))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, Function):
            yield node


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
