"""Conformance finds out what a server does: a real one, the fake, and servers that fail."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.conformance.reading import complaint, read, shape
from parley.conformance.report import Report, as_json, as_table
from parley.conformance.run import examine
from parley.conformance.wire import Event, Response
from providers.frames import Frame
from tests.models.llama_server import llama_server
from tests.services import find_free_port
from tests.unit.fake_server.support import scripted

MOST_REQUESTS = 24
# For servers that hang; nothing else waits for it.
QUICK_S = 1.0


def verdicts(report: Report) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in report.findings}


def details(report: Report, name: str) -> str:
    return next(finding.details for finding in report.findings if finding.name == name)


async def test_llama_cpp_is_found_out(tiny_model: Path) -> None:
    with llama_server(tiny_model, api_key="secret") as base_url:
        report = await examine(base_url, api_key="secret")
    found = verdicts(report)
    assert report.usable
    assert report.model == "tiny"
    assert report.requests <= MOST_REQUESTS
    yes = {"models", "finish reason", "usage", "end of stream", "max_tokens", "seed", "wrong key"}
    assert {name: found[name] for name in yes} == dict.fromkeys(yes, "yes")
    assert found["streaming"] in {"yes", "partly"}
    assert details(report, "too long a context").startswith("400, OpenAI's shape")
    assert "secret" not in as_json(report)


async def test_refused_key_ends_the_run(tiny_model: Path) -> None:
    with llama_server(tiny_model, api_key="secret") as base_url:
        report = await examine(base_url)
    assert not report.usable
    assert report.requests == 2
    assert details(report, "streaming").startswith("401: ")
    assert "It wants a key, or another one: --api-key-env" in as_table(report)


async def test_abilities_are_found() -> None:
    async with scripted() as server:
        report = await examine(server.base_url)
    found = verdicts(report)
    yes = {"JSON mode", "JSON by a schema", "tools", "a tool that must be called"}
    yes |= {"results of tools", "images", "system prompt"}
    assert {name: found[name] for name in yes} == dict.fromkeys(yes, "yes")
    assert details(report, "JSON by a schema") == "of it"


async def test_what_a_server_reads_over_is_no_ability() -> None:
    """Most servers answer 200 to what they do not know."""
    async with scripted('[[reply]]\ntext = "one two three"') as server:
        report = await examine(server.base_url)
    found = verdicts(report)
    assert (found["tools"], found["a tool that must be called"]) == ("unknown", "no")
    assert (found["JSON mode"], found["JSON by a schema"]) == ("no", "no")


GUARDED = """
model = "m"
context_window = 600
known_models_only = true
api_key = "k"
"""


async def test_our_own_fake_is_found_out() -> None:
    async with scripted(GUARDED) as server:
        report = await examine(server.base_url, api_key="k", model="m")
    unsure = {"streaming", "cancel"}  # it says all at once
    rest = {name: verdict for name, verdict in verdicts(report).items() if name not in unsure}
    assert rest == dict.fromkeys(rest, "yes")
    assert (report.usable, report.requests) == (True, len(server.requests) + 1)
    assert report.requests <= MOST_REQUESTS


async def test_query_comes_behind_every_path() -> None:
    async with scripted() as server:
        report = await examine(f"{server.base_url}/?sig=s3cret")
        assert all(request.path.endswith("?sig=s3cret") for request in server.requests)
    assert report.usable
    assert "s3cret" not in as_table(report) + as_json(report)


async def test_report_tells_no_secret() -> None:
    refusal = (
        'error = "Incorrect API key: s3cret-0123456789, not of alice:hunter2secret, sig qwertyuiop"'
    )
    async with scripted(f"[[reply]]\nstatus = 401\n{refusal}") as server:
        address = server.base_url.replace("://", "://alice:hunter2secret@")
        report = await examine(f"{address}?sig=qwertyuiop", api_key=None)
        keyed = await examine(server.base_url, api_key="s3cret-0123456789")
    assert report.base_url == server.base_url
    assert "Incorrect API key: s3cret-0123456789, not of [key], sig [key]" in as_json(report)
    assert "Incorrect API key: [key], not of" in as_table(keyed)
    assert "hunter2" not in as_json(report) + as_table(report)
    assert "s3cret" not in as_json(keyed) + as_table(keyed)


async def test_increments_are_seen() -> None:
    async with scripted('[[reply]]\ntext = "one two three four"\npause_ms = 3') as server:
        report = await examine(server.base_url)
    assert verdicts(report)["streaming"] == "yes"
    assert report.figures["chunks a second"] > 0


async def test_native_dialect_of_tgi_is_found_out() -> None:
    async with scripted('model = "m"\ncontext_window = 600') as server:
        report = await examine(server.root, dialect="tgi")
    assert report.usable
    assert verdicts(report)["usage"] == "yes"
    assert details(report, "too long a context").startswith("refused inside the stream")
    assert {request.path for request in server.requests} == {"/generate_stream", "/generate"}


FAULTS = {
    "page of a proxy": ('body = "<html><title>Sign in</title></html>"\ncontent_type = "text/html"', 'a web page, "Sign in", which is no JSON'),
    "bad gateway": ('status = 502\nbody = "<html><title>502 Bad Gateway</title><hr></html>"\ncontent_type = "text/html"', "502: 502 Bad Gateway"),
    "bad JSON in the middle": ('text = "a b"\nfaults = [{ kind = "bad_json", after = 1 }]', "2 chunks; then an event that is no JSON"),
    "web page": ('body = "<html>"\ncontent_type = "text/html"', "which is no JSON"),
    "nothing": ('body = ""', "an empty answer"),
    "document": ('text = "a b"\nstream = false', "a document"),
    "refused": ("status = 503", "503: The model is overloaded"),
    "hang before the status": ('faults = [{ kind = "hang", after = "request" }]', "nothing more came"),
    "cut before the status": ('faults = [{ kind = "cut", after = "request" }]', "the connection was closed"),
    "hang in the middle": ('text = "a b"\nfaults = [{ kind = "hang", after = 1 }]', "1 chunks; then nothing more came"),
    "cut in the middle": ('text = "a b"\nfaults = [{ kind = "cut", after = 1 }]', "1 chunks; then the connection was closed"),
    "error in the middle": ('text = "a b"\nfaults = [{ kind = "error", after = 1 }]', "then Model is overloaded"),
    "bad JSON alone": ('faults = [{ kind = "bad_json" }, { kind = "end" }]', "an event that is no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "said"), FAULTS.values(), ids=FAULTS.keys())
async def test_server_without_the_basics_is_told(reply: str, said: str) -> None:
    async with scripted(f"[[reply]]\n{reply}") as server:
        report = await examine(server.base_url, timeout_s=QUICK_S)
    assert not report.usable
    assert verdicts(report)["streaming"] == "no"
    assert said in details(report, "streaming")
    assert "The basics do not work. 2 requests." in as_table(report)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ('finish = ""\nwire = { done = false }', "the end of the body, no [DONE]"),
        ('faults = [{ kind = "hang", after = 1 }]', "none came in time"),
    ],
)
async def test_stream_without_an_end_is_told(reply: str, said: str) -> None:
    async with scripted(f'[[reply]]\ntext = "one two"\n{reply}') as server:
        report = await examine(server.base_url, timeout_s=QUICK_S)
    assert (verdicts(report)["end of stream"], details(report, "end of stream")) == ("no", said)


QUIRKS = {
    "no usage": ("usage = false", "usage", "no"),
    "no finish reason": ('finish = ""', "finish reason", "partly"),
    "a finish reason of its own": ('finish = "done"', "finish reason", "partly"),
    "no done": ("wire = { done = false }", "end of stream", "yes"),
    "open to the end": (
        'faults = [{ kind = "hang", after = "finish" }]\n[[reply]]\ntext = "one two three"',
        "end of stream",
        "no",
    ),
    "no index": ('tool_calls = [{ name = "a", index = false }]', "tools", "yes"),
}


@pytest.mark.parametrize(("reply", "name", "verdict"), QUIRKS.values(), ids=QUIRKS.keys())
async def test_quirk_is_told(reply: str, name: str, verdict: str) -> None:
    async with scripted(f'[[reply]]\ntext = "one two three"\n{reply}') as server:
        limit_s = QUICK_S if "hang" in reply else 15.0
        report = await examine(server.base_url, timeout_s=limit_s)
    assert report.usable
    assert verdicts(report)[name] == verdict
    assert ("without index" in details(report, "tools")) == ("index = false" in reply)


async def test_nobody_there_is_told() -> None:
    report = await examine(f"http://127.0.0.1:{find_free_port()}/v1")
    assert verdicts(report) == {"models": "no", "streaming": "no", "finish reason": "no"}
    assert json.loads(as_json(report))["usable"] is False
    assert details(report, "models") == "it cannot be reached: Connection refused"
    report = await examine("127.0.0.1:8080/v1")
    assert details(report, "models").startswith("its address is not a URL: it begins with http")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "tool_calls",
                    "finish_reason",
                    "usage",
                    "token",
                    "text",
                    "details",
                    "generated_text",
                    "error",
                    "detail",
                    "msg",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_whatever_is_said_is_read(value: object) -> None:
    body = json.dumps(value).encode()
    streamed = Response(200, "text/event-stream", [Event(0.1, Frame(body, "error"))], body)
    assert isinstance(read(streamed).text, str)
    assert isinstance(read(Response(200, "application/json", [], body)).trouble, str)
    assert shape(Response(400, "application/json", [], body))
    assert len(complaint(value)) <= 160
