"""Environment: what Chainlit must find in `os.environ` before it is imported."""

import os
from pathlib import Path


def prepare(root: Path, login_secret: str) -> None:
    """Point Chainlit at the checkout's configuration, and make every visitor a user.

    `CHAINLIT_CUSTOM_AUTH` makes the page ask who the user is; mount.py answers, so Chainlit's
    own login cookie is never used. Its secret is only there because it insists on one.
    """
    os.environ["CHAINLIT_APP_ROOT"] = str(root)  # noqa: TID251 - Chainlit has no other door
    os.environ["CHAINLIT_CUSTOM_AUTH"] = "1"  # noqa: TID251
    os.environ["CHAINLIT_AUTH_SECRET"] = login_secret  # noqa: TID251
