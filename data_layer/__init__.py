"""What is kept? Every thread of every user, in SQLite or PostgreSQL; the only home of SQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_layer.door import open_data_layer

__all__ = ["open_data_layer"]


def __getattr__(name: str) -> Any:
    # Late: it imports Chainlit, which reads its environment when it is imported.
    if name == "open_data_layer":
        from data_layer.door import open_data_layer  # noqa: PLC0415

        return open_data_layer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
