"""Doors of Chainlit that stay closed: what Parley does not offer, or not yet, is not there."""

UPLOADS = "/project/file"
CLOSED = (
    # Its internals, and connections that a user names.
    "/docs",
    "/redoc",
    "/openapi.json",
    "/mcp",
    "/auth/jwt",
    # Ways in that are not ours, and a widget for other sites.
    "/auth/header",
    "/auth/oauth",
    "/copilot",
    # These carry no owner to the data layer, which does not keep what they write yet.
    "/project/element",
)


def is_closed(path: str) -> bool:
    """Whether a path leads to a closed door, or to anything behind it."""
    return any(path == door or path.startswith(door + "/") for door in CLOSED)


def is_upload(path: str) -> bool:
    """Whether a path is one of the files of a session: these doors are ours (uploads.py)."""
    return path == UPLOADS or path.startswith(UPLOADS + "/")
