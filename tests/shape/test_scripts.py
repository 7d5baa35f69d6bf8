"""The page's scripts: each small, each used, each a module that a browser can read.

The story: what Parley adds to Chainlit's page had grown to one file of 455 lines in seven parts, which no gate looked at.
"""

import re
import subprocess
from pathlib import Path

import playwright

from tests.shape.source import ROOT

SCRIPT_LINES = 150
# The engine that Playwright brings along: none needs to be installed.
NODE = Path(playwright.__file__).parent / "driver" / "node"
PUBLIC = ROOT / "public"
PAGE = PUBLIC / "page.js"
SCRIPTS = sorted(PUBLIC.rglob("*.js"))
IMPORT = re.compile(r"^import .*?'(\./[\w./]+)';$", re.MULTILINE)


def imported_by(path: Path) -> set[Path]:
    return {(path.parent / name).resolve() for name in IMPORT.findall(path.read_text())}


def test_no_script_is_too_long() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in SCRIPTS}
    assert {name: lines for name, lines in lengths.items() if lines > SCRIPT_LINES} == {}


def test_every_module_of_the_page_is_used() -> None:
    used, found = {PAGE}, {PAGE}
    while found:
        found = set().union(*map(imported_by, found)) - used
        used |= found
    assert used == {PAGE, *(PUBLIC / "page").rglob("*.js")}


def test_every_script_can_be_read() -> None:
    """As a module, in which a name that is declared twice is an error."""
    command = [str(NODE), "--input-type=module", "--check"]
    for path in SCRIPTS:
        script = path.read_text()
        read = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert read.returncode == 0, f"{path.name}: {read.stderr}"
