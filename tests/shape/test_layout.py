"""The layout keeps its promises where import-linter cannot look."""

from pathlib import Path

import tests
from tests.shape.source import PRODUCT, ROOT, packages, pyproject

# The command's entry sits above all layers, as app.py does.
ABOVE_THE_LAYERS = {"parley.__init__", "parley.__main__"}


def test_every_package_has_its_layer() -> None:
    """A package that no contract names may import whatever it likes, silently.

    import-linter's own answer, `exhaustive`, needs one package around all layers, and ours has three.
    """
    linter = pyproject()["tool"]["importlinter"]
    (rows,) = (entry["layers"] for entry in linter["contracts"] if entry["type"] == "layers")
    layers = {name.strip(" ()") for row in rows for name in row.split("|")}
    inside = {
        f"parley.{path.stem}"
        for path in (ROOT / "parley").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    beside = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert beside <= set(linter["root_packages"])
    assert inside - ABOVE_THE_LAYERS <= layers
    assert beside - {"parley"} <= layers


def test_no_package_is_an_empty_shell() -> None:
    """A package appears when it has content: a name without code promises what is not there."""
    shells = [
        str(package.relative_to(ROOT))
        for package in packages(*PRODUCT, "tests", "benchmarks")
        if not any(path.name != "__init__.py" for path in package.rglob("*.py"))
    ]
    assert shells == []


def test_tests_is_our_package() -> None:
    """literalai, which Chainlit needs, installs a top-level package `tests` into site-packages."""
    assert Path(tests.__file__ or "").parent == ROOT / "tests"
