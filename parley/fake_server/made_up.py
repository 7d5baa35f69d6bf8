"""Made up: the smallest JSON that a schema allows, for what models would write."""

from collections.abc import Mapping
from typing import Any

_MOST_DEEP = 8


def example_of(schema: Any, text: str, deep: int = 0) -> Any:
    """Make a value; texts are `text`. Of what this does not know of a schema nothing is promised."""
    if not isinstance(schema, Mapping) or deep > _MOST_DEEP:
        return text
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if choices := schema.get("enum"):
        return choices[0]
    for word in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(word):
            return example_of(options[0], text, deep + 1)
    return _of_kind(_kind(schema), schema, text, deep)


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) else kind).lower()


def _of_kind(kind: str, schema: Mapping[str, Any], text: str, deep: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = schema.get("required") or []
        return {name: example_of(properties.get(name), text, deep + 1) for name in wanted}
    if kind == "array":
        return [example_of(schema.get("items"), text, deep + 1)] * int(schema.get("minItems") or 0)
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("maximum", 1))
    return {"boolean": True, "null": None}.get(kind, text)
