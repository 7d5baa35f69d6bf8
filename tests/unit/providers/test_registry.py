"""The registry leads a model id to its provider, and closes what it owns."""

import pytest
from typing_extensions import override

from parley.chat.errors import UnknownModel
from parley.chat.models import ModelInfo
from parley.chat.ports import Catalogue, Route
from providers.demo import DemoProvider
from providers.registry import Choice, Registry


class Closing(DemoProvider):
    """Counts its closings, and fails at them if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.closed = 0
        self._fails = fails

    @override
    async def aclose(self) -> None:
        self.closed += 1
        if self._fails:
            raise ConnectionResetError


def route(provider: str, name: str, backend: DemoProvider | None = None) -> Route:
    info = ModelInfo(f"{provider}:{name}", provider, name, name)
    return Route(info, backend or DemoProvider(), name)


ROUTES = (route("a", "x"), route("a", "y:7b"), route("b", "z"))
REGISTRY: Catalogue = Registry(ROUTES, Choice("b:z", "it is here"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [("a:x", "a:x"), ("a:y:7b", "a:y:7b"), ("a", "a:x"), ("b", "b:z"), (None, "b:z")],
)
def test_id_leads_to_its_route(asked: str | None, found: str) -> None:
    resolved = REGISTRY.resolve(asked)
    assert f"{resolved.info.provider}:{resolved.upstream_model}" == found


@pytest.mark.parametrize("asked", ["a:z", "A:x", "x", "", "c", "a:", "a:x\n"])
def test_other_ids_are_unknown(asked: str) -> None:
    with pytest.raises(UnknownModel, match="Known are: b:z, a:x, a:y:7b") as caught:
        REGISTRY.resolve(asked)
    assert "\n" not in caught.value.message


def test_default_is_listed_first() -> None:
    assert [model.id for model in REGISTRY.models()] == ["b:z", "a:x", "a:y:7b"]


def test_choice_is_one_line() -> None:
    assert Choice("a:x", "KEY is set").line == "a:x, because KEY is set"


async def test_every_provider_is_closed_once() -> None:
    good, bad = Closing(), Closing(fails=True)
    routes = (route("a", "x", good), route("a", "y", good), route("b", "z", bad))
    with pytest.raises(ConnectionResetError):
        await Registry(routes, Choice("a:x", "")).aclose()
    assert (good.closed, bad.closed) == (1, 1)
