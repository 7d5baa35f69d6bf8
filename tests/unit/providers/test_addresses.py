"""A base URL with a query: it comes behind every path, is never shown, and an error names its row."""

import pytest

from parley.chat.errors import ModelMissing, ProviderError, RequestRefused
from parley.chat.messages import Message, Role
from parley.chat.models import CompletionRequest, Sampling
from providers.config import ModelConfig, ProvidersConfig, RetryConfig
from providers.ladder import open_registry
from tests.fakes.model_server import Reply, body, json_reply, model_server, sse
from tests.unit.providers.support import LONG, Outcome, outcome_of
from tests.unit.providers.wires import ALL, HUGGINGFACE, Wire

QUERY = "api-version=2026-11-01&sig=s3cret-signature"
DIALECTS = ("openai", "tgi", "huggingface", "gemini")


async def asked(dialect: str, path: str, reply: Reply) -> tuple[Outcome, list[str]]:
    """What a row of the file gets from its server, and the addresses that were asked for."""
    async with model_server(reply) as server:
        row = ModelConfig("house", dialect, "m", base_url=f"{server.root}{path}?{QUERY}#top")
        config = ProvidersConfig(models=(row,), deadlines=LONG, retry=RetryConfig(retries=0))
        registry = await open_registry(config)
        route = registry.resolve("house")
        question = (Message.of(Role.USER, "Hello?"),)
        outcome = await outcome_of(
            route.provider, CompletionRequest("m", question, Sampling(max_tokens=8))
        )
        await registry.health()
        await registry.aclose()
        return outcome, [request.path for request in server.requests]


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
@pytest.mark.parametrize(
    ("dialect", "wire"),
    [("openai", HUGGINGFACE), *((wire.name.partition(" ")[0], wire) for wire in ALL if not wire.api)],
)  # fmt: skip
async def test_query_comes_behind_every_path(dialect: str, wire: Wire, path: str) -> None:
    outcome, paths = await asked(dialect, path, sse(*wire.answer("Hello", " you")))
    assert (outcome.text, outcome.error) == ("Hello you", None)
    assert all(path.endswith(QUERY) and "//" not in path for path in paths)
    chats = ("/v1/chat/completions?", "/v1/models/m:streamGenerateContent?alt=sse&")
    assert any(path.startswith(chats) for path in paths)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"detail": "Not Found"}, 404),
        body(f"The URL /v1beta/models/m:x?{QUERY}&alt=sse was not found.".encode(), "text/html", 404),
        body(b"Cannot POST /v1/models/m:streamGenerateContent", "text/plain", 404),
    ],
)  # fmt: skip
async def test_wrong_address_of_a_row_is_told_with_its_setting(dialect: str, reply: Reply) -> None:
    outcome, _ = await asked(dialect, "/v1", reply)
    assert type(outcome.error) is RequestRefused
    assert "Check models.house.base_url" in outcome.error.message
    assert "s3cret" not in outcome.error.message


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("said", ["The model `a/b` does not exist", "models/m is not found"])
async def test_model_that_is_not_there_is_still_told_as_that(dialect: str, said: str) -> None:
    outcome, _ = await asked(dialect, "/v1", json_reply({"error": {"message": said}}, 404))
    error: ProviderError | None = outcome.error
    assert isinstance(error, ModelMissing)
    assert "Check models.house.model." in error.message
