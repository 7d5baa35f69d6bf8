"""Secret: made on the first run and kept, so that a restart forgets nobody."""

import os
import secrets
from pathlib import Path


def kept_secret(path: Path) -> str:
    """Read the secret of a file, making the file, for its owner alone, where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        made = secrets.token_hex(32)
        file.write(made)
    return made
