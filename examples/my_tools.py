"""A tool in one file: name it in parley.toml, `plugins = ["my_tools.py"]`, and models can call it."""

import secrets
from typing import Annotated

from pydantic import Field

from parley.tools import tool


@tool("Rolling {count} dice")
async def roll_dice(count: Annotated[int, Field(description="How many", ge=1, le=20)] = 1) -> str:
    """Roll dice with six sides, and give what each one shows."""
    return ", ".join(str(secrets.randbelow(6) + 1) for _ in range(count))
