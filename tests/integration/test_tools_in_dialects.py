"""Tools in every dialect: a model calls two of ours, and its server gets what they gave."""

import json
from ipaddress import ip_network
from typing import cast

import pytest

from parley.chat.deltas import FinishReason
from parley.tools.opening import ToolsConfig, open_tools
from parley.tools.safe_http import HttpConfig
from providers.door import connect
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.web import page_of, web
from tests.unit.chat.support import CONFIG, bench
from tests.unit.fake_server.support import scripted

SCRIPT = """
model = "m"
after_last = "repeat"

[[reply]]
text = "Let me look."
[[reply.tool_calls]]
name = "web_search"
arguments = '{"query": "cats"}'
id = "call_a"
[[reply.tool_calls]]
name = "read_page"
arguments = '{"url": "%(page)s"}'
id = "call_b"
[[reply.tool_calls]]
name = "read_page"
arguments = '{"url": "http://169.254.169.254/"}'
id = "call_c"

[[reply]]
text = "They purr, says [Cats](%(page)s)."
"""
FOUND = json.dumps({"results": [{"title": "Cats", "url": "http://c.example/", "content": "Meow"}]})


@pytest.mark.parametrize(
    ("name", "dialect", "at"),
    [
        ("openai", "openai", "base_url"),
        ("tgi", "tgi", "root"),
        ("huggingface", "tgi", "base_url"),
        ("gemini", "openai", "root"),
    ],
)
async def test_tools_are_called_in_every_dialect(name: str, dialect: str, at: str) -> None:
    pages = {
        "/search": page_of(FOUND, "application/json"),
        "/cats": page_of("Cats purr at 25 hertz.", "text/plain"),
    }
    async with web(pages) as site:
        script = f'dialect = "{dialect}"\n' + SCRIPT % {"page": site.url("/cats")}
        http = HttpConfig(networks=(ip_network("127.0.0.1/32"),), ports=frozenset({site.port, 80}))
        config = ToolsConfig(http=http, searxng_url=site.url("").rstrip("/"))
        async with (
            scripted(script) as server,
            connect(name, base_url=getattr(server, at), api_key="k", model="m") as provider,
            open_tools(config) as tools,
            bench(CONFIG.with_tools(tools), provider=cast(ScriptedProvider, provider)) as b,
        ):
            turn = await b.submit("What about cats?")
            folded = await b.folded(turn)
            assert (folded.error_message, folded.finish_reason) == (None, FinishReason.STOP)
            assert folded.text.startswith("Let me look.\n\nThey purr")
            assert [(tool.name, tool.error) for tool in folded.tools] == [
                ("web_search", None),
                ("read_page", None),
                ("read_page", "not_allowed"),
            ]
            told = server.requests[-1].body.decode()
            for said in ("http://c.example/", "25 hertz", "not on the public internet"):
                assert said in told
            after = await b.submit("And dogs?")
            assert (await b.folded(after)).error_message is None
            assert b"25 hertz" in server.requests[-1].body
