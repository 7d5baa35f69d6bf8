"""Search engines: `ddgs` itself against engines of ours, over TLS and through the real tunnel."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from parley.tools.definition import tool_of
from parley.tools.failures import ToolFailed
from parley.tools.registry import ToolRegistry
from parley.tools.safe_http import HttpConfig, open_http
from parley.tools.search_services import Ddgs, Found
from parley.tools.tunnel import Streams, open_tunnel
from parley.tools.web_search import WebSearch
from tests.fakes.tls_proxy import Authority, tls_proxy
from tests.fakes.web import Answer, Web, page_of, redirect_to, slow, web

ENGINES = (
    "html.duckduckgo.com",
    "en.wikipedia.org",
    "grokipedia.com",
    "search.brave.com",
    "search.yahoo.com",
    "www.mojeek.com",
    "www.startpage.com",
)
FOUND = """<html><body>
<div class="links_main result__body"><h2>On <b>cats</b></h2>
<a class="result__snippet" href="https://a.example/">All about\n cats &amp; dogs.</a></div>
<div class="links_main result__body"><h2>An advertisement</h2>
<a href="https://duckduckgo.com/y.js?ad=1">Buy!</a></div>
<div class="links_main result__body"><h2></h2><a href="https://b.example/"></a></div>
</body></html>"""
DUCK = {"/html/": page_of(FOUND)}


@asynccontextmanager
async def engines(
    directory: Path, pages: Mapping[str, bytes | Answer], **limits: float
) -> AsyncIterator[tuple[Web, Ddgs]]:
    """Serve as all engines there are, and give what asks them."""
    authority = Authority(directory)
    context = authority.server_context("127.0.0.1", *ENGINES)
    async with web(pages) as served, tls_proxy(context, served.port) as port:
        dialled: list[Streams] = []

        async def dial(host: str, _: int) -> Streams:
            assert host in ENGINES
            dialled.append(await asyncio.open_connection("127.0.0.1", port))
            return dialled[-1]

        config = HttpConfig(ports=frozenset({443}))
        tunnel = partial(open_tunnel, config, dial)
        yield served, Ddgs(tunnel, authority.ca_file, **limits)  # type: ignore[arg-type]  # names of Ddgs
        assert all(writer.transport.is_closing() for _, writer in dialled)


async def ask(engine: Ddgs, count: int = 6) -> list[Found]:
    async with open_http(HttpConfig()) as http:
        return list(await engine.search(http, "cats & dogs", count))


async def refusal(engine: Ddgs) -> str:
    with pytest.raises(ToolFailed) as caught:
        await ask(engine)
    return caught.value.why


async def test_results_of_an_engine_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "DDGS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with engines(tmp_path, DUCK) as (served, engine):
        found = await ask(engine)
        assert sorted((item.title, item.url, item.text) for item in found) == [
            ("", "https://b.example/", ""),
            ("On cats", "https://a.example/", "All about cats & dogs."),
        ]
        asked = next(head for head in served.seen if "html.duckduckgo.com" in head)
        assert "Mozilla" in asked


async def test_long_results_are_cut_before_they_come_here(tmp_path: Path) -> None:
    page = f"<div class=body><h2>{'t' * 99_999}</h2><a href=https://a.example/>{'x' * 99_999}</a></div>"
    async with engines(tmp_path, {"/html/": page_of(page)}) as (_, engine):
        (found,) = await ask(engine)
        assert (len(found.title), len(found.text)) == (300, 2000)


async def test_another_engines_answer_is_enough(tmp_path: Path) -> None:
    titles = ["cats", ["Cat"], [""], ["https://en.wikipedia.org/wiki/Cat"]]
    said = {"query": {"pages": {"1": {"extract": "The cat is small."}}}}

    async def wikipedia(served: Web, writer: asyncio.StreamWriter, head: str) -> None:
        body = titles if "opensearch" in head else said
        writer.write(page_of(json.dumps(body), "application/json"))
        await writer.drain()

    async with engines(tmp_path, {"/w/api.php": wikipedia}) as (_, engine):
        assert await ask(engine) == [
            Found("Cat", "https://en.wikipedia.org/wiki/Cat", "The cat is small.")
        ]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (page_of("busy", status="429 Too Many"), "not_found"),
        (page_of("<html></html>"), "not_found"),
        (b"nonsense", "unavailable"),
    ],
)
async def test_engines_that_give_nothing_are_told(tmp_path: Path, page: bytes, why: str) -> None:
    pages = dict.fromkeys(("/html/", "/search", "/sp/search"), page)
    pages["/"] = page_of('<input name="sc" value="k">')
    async with engines(tmp_path, pages) as (_, engine):
        assert await refusal(engine) == why


async def test_nobody_there_is_told_to_the_model() -> None:
    async def dial(host: str, port: int) -> Streams:
        raise ConnectionRefusedError

    async with open_http(HttpConfig()) as http:
        tunnel = partial(open_tunnel, HttpConfig(ports=frozenset({443})), dial)
        registry = ToolRegistry([tool_of(WebSearch(http, [Ddgs(tunnel)]).web_search)])
        result = await registry.run("web_search", '{"query": "cats"}')
        assert (result.error, "cannot be searched now" in result.text) == ("unavailable", True)


async def test_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    async with engines(tmp_path, DUCK) as (served, engine):
        engine._ca_file = None
        assert await refusal(engine) == "unavailable"
        assert not served.seen


async def test_engine_does_not_lead_into_the_house(tmp_path: Path) -> None:
    async with web({"/": page_of("secret")}) as house:
        pages = {"/html/": redirect_to(f"https://127.0.0.1:{house.port}/")}
        async with engines(tmp_path, pages) as (_, engine):
            assert await refusal(engine) == "unavailable"
        pages = {"/html/": redirect_to(house.url())}
        async with engines(tmp_path, pages) as (_, engine):
            assert await refusal(engine) == "unavailable"
        assert not house.seen


async def test_silent_engine_is_left(tmp_path: Path) -> None:
    pages = dict.fromkeys(("/html/", "/search", "/sp/search", "/w/api.php", "/api/typeahead"), slow)
    async with engines(tmp_path, pages, patience_s=2) as (_, engine):
        assert await refusal(engine) == "timeout"


async def test_stop_ends_a_search(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(served: Web, writer: asyncio.StreamWriter, head: str) -> None:
        asked.set()
        await asyncio.Event().wait()

    pages = dict.fromkeys(("/html/", "/search", "/sp/search", "/w/api.php", "/api/typeahead"), hang)
    async with engines(tmp_path, pages, most=1) as (_, engine):
        searching = asyncio.ensure_future(ask(engine))
        await asked.wait()
        # There is room for one.
        assert await refusal(engine) == "unavailable"
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
