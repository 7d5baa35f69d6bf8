"""Docs: the API's own description, and two pages to read it with; nothing comes from elsewhere."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from typing_extensions import override

from parley.surfaces.http.schema import components, with_refusals

_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: parley_…"},
    "browser": {"type": "apiKey", "in": "cookie", "name": "parley_guest"},
}


class DescribedApp(FastAPI):
    """An app whose document knows the shapes that are not FastAPI's."""

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            made = get_openapi(
                title=self.title,
                version=self.version,
                summary="Every door to the same conversation",
                routes=self.routes,
            )
            for path in made["paths"].values():
                for operation in path.values():
                    with_refusals(operation)
            parts = made.setdefault("components", {})
            parts.setdefault("schemas", {}).update(components())
            parts["securitySchemes"] = _SECURITY
            made["security"] = [{}, *({name: []} for name in _SECURITY)]
            self.openapi_schema = made
        return self.openapi_schema
