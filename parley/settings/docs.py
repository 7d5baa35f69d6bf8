"""Docs: writes the table of settings, or with ``--check`` says whether it is current."""

import sys
from pathlib import Path
from typing import get_args, get_origin

from parley.settings.environment import Environment, is_secret, setting_names

TABLE = Path("docs/settings.md")

_HEAD = """# Settings

Set in the environment or in a file `.env` in the working directory. Empty values and unknown
names are ignored. Made from `parley/settings/environment.py` by `python -m parley.settings.docs`.

| name (other names) | default | what |
|---|---|---|
"""


def settings_table() -> str:
    """Render every setting as a row."""
    return _HEAD + "".join(_row(name) for name in Environment.model_fields)


def main(arguments: list[str]) -> int:
    """Write the table; with ``--check`` only compare, and fail where it is stale."""
    table = settings_table()
    if "--check" not in arguments:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(table)
        return 0
    if TABLE.is_file() and TABLE.read_text() == table:
        return 0
    sys.stderr.write(f"{TABLE} is stale: run python -m parley.settings.docs\n")
    return 1


def _row(field_name: str) -> str:
    field = Environment.model_fields[field_name]
    first, *others = setting_names(field_name)
    names = f"`{first}`" + "".join(f" (`{other}`)" for other in others)
    return f"| {names} | {_default(field_name)} | {field.description}{_choices(field_name)} |\n"


def _default(field_name: str) -> str:
    default = Environment.model_fields[field_name].default
    if default is None or default == ():
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _choices(field_name: str) -> str:
    annotation = Environment.model_fields[field_name].annotation
    literals = [a for a in (annotation, *get_args(annotation)) if "Literal" in str(get_origin(a))]
    words = [f"`{word}`" for literal in literals for word in get_args(literal)]
    secret = " Secret." if is_secret(field_name) else ""
    return f" One of {', '.join(words)}.{secret}" if words else secret


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
