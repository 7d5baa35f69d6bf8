"""Environment: what Chainlit must find in `os.environ` before it is imported."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

_CONFIGURATION = ".chainlit"
_SHOWN = ("public", "chainlit*.md")


def prepare(root: Path, login_secret: str) -> Callable[[], None]:
    """Point Chainlit at the checkout's configuration, and make every visitor a user.

    What it gives takes away, at the end, what was made for that.

    `CHAINLIT_CUSTOM_AUTH` makes the page ask who the user is; mount.py answers, so Chainlit's
    own login cookie is never used. Its secret is only there because it insists on one.
    """
    is_writable = os.access(root, os.W_OK)
    seen = root if is_writable else _view_of(root)
    os.environ["CHAINLIT_APP_ROOT"] = str(seen)  # noqa: TID251 - Chainlit has no other door
    os.environ["CHAINLIT_CUSTOM_AUTH"] = "1"  # noqa: TID251
    os.environ["CHAINLIT_AUTH_SECRET"] = login_secret  # noqa: TID251
    take_away = (lambda: None) if is_writable else partial(shutil.rmtree, seen, ignore_errors=True)
    # Where nothing is served. A server that is told to end does not come to this.
    atexit.register(take_away)
    return take_away


def _view_of(root: Path) -> Path:
    """Make a directory that looks to Chainlit like a checkout that is read-only.

    Chainlit makes `.files` and its translations beside its configuration when it is imported, and
    ends where it cannot; what Parley keeps is elsewhere.
    """
    view = Path(tempfile.mkdtemp(prefix="parley-page-"))
    for pattern in _SHOWN:
        for path in root.glob(pattern):
            (view / path.name).symlink_to(path)
    for path in (root / _CONFIGURATION).rglob("*"):
        if path.is_file():
            copy = view / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return view
