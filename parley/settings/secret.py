"""Secret: made on the first run and kept, so that a restart forgets nobody."""

import os
import secrets
from pathlib import Path

# A shorter one can be guessed.
SECRET_CHARS = 32
_PLACEHOLDERS = (
    "change",
    "secret",
    "example",
    "placeholder",
    "password",
    "your",
    "replace",
    "todo",
)
_LEAST_DIFFERENT = 10


def weakness(secret: str) -> str | None:
    """Say what is wrong with a secret that somebody chose; None where nothing is."""
    if not secret:
        return "it is not set"
    if len(secret) < SECRET_CHARS:
        return f"it has fewer than {SECRET_CHARS} characters and can be guessed"
    lowered = secret.lower()
    if len(set(secret)) < _LEAST_DIFFERENT or any(word in lowered for word in _PLACEHOLDERS):
        return "it is a placeholder or can be guessed"
    return None


def kept_secret(path: Path) -> str:
    """Read the secret of a file, making the file, for its owner alone, where it is missing.

    Raises `OSError` where it cannot be kept, and `ValueError` for a file that holds none: signing
    with an empty secret would let anyone be anyone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_text().strip()
        if len(kept) < SECRET_CHARS:
            raise ValueError(f"it has fewer than {SECRET_CHARS} characters") from None
        return kept
    with os.fdopen(descriptor, "w") as file:
        made = secrets.token_hex(32)
        file.write(made)
    return made
