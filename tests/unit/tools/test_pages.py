"""Pages: read from a site of fixtures, parsed apart, asked for by robots.txt first."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest

from parley.tools.documents import Parser
from parley.tools.extract import extract
from parley.tools.failures import ToolFailed
from parley.tools.opening import ToolsConfig, open_tools
from parley.tools.registry import ToolRegistry
from parley.tools.safe_http import Fetched, HttpConfig
from tests.fakes.web import Answer, Web, bomb, endless, page_of, redirect_to, web
from tests.patience import PATIENCE_S

ARTICLE = """<!doctype html><html><head><title>On Cats - The Daily</title>
<meta property="article:published_time" content="2026-01-02"><meta name="author" content="Ann Example">
</head><body><nav>Home | Shop | About</nav><article><h1>On Cats</h1>
<p>Cats are small carnivorous mammals that have lived with people for about ten thousand years.</p>
<p>They sleep for most of the day, and hunt in the twilight. &lt;script&gt;alert(1)&lt;/script&gt;</p>
<p>%s</p></article><footer>All rights reserved</footer><script>evil()</script></body></html>"""
LONG = " ".join(f"Sentence number {n} is about cats and little else." for n in range(800))


def pdf_of(text: str) -> bytes:
    """Write the smallest PDF with a text."""
    stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Title(A paper on cats)/Author(Ann)>>",
    ]
    out = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + (
        b"xref\n0 7\n0000000000 65535 f \n%strailer<</Size 7/Root 1 0 R/Info 6 0 R>>\n"
        b"startxref\n%d\n%%%%EOF" % (table, len(out))
    )


PAGES: dict[str, bytes | Answer] = {
    "/article": page_of(ARTICLE % ""),
    "/long": page_of(ARTICLE % LONG),
    "/paper": page_of(pdf_of("Cats purr at 25 hertz."), "application/pdf"),
    "/damaged": page_of(b"%PDF-1.4 no", "application/pdf"),
    "/plain": page_of("Just words.", "text/plain; charset=utf-8"),
    "/data": page_of('{"cats": 2}', "application/json"),
    "/empty": page_of("<html></html>"),
    "/image": page_of(b"\x89PNG", "image/png"),
    "/broken": page_of("oops", status="500 Internal Server Error"),
    "/endless": endless,
    "/bomb": bomb(100),
}


@asynccontextmanager
async def site(
    rules: bytes | None = None, **changes: object
) -> AsyncIterator[tuple[Web, ToolRegistry]]:
    """Serve the fixtures, and the tools for which they are on the internet."""
    pages = {**PAGES, **({"/robots.txt": rules} if rules else {})}
    async with web(pages) as served:
        http = HttpConfig(
            networks=(ip_network("127.0.0.1/32"),),
            ports=frozenset({served.port}),
            total_s=PATIENCE_S,
        )
        config = replace(ToolsConfig(http=http), **changes)  # type: ignore[arg-type]  # its names
        async with open_tools(config) as registry:
            yield served, registry


async def read(registry: ToolRegistry, url: str, **more: object) -> tuple[str, str | None]:
    result = await registry.run("read_page", json.dumps({"url": url, **more}))
    return result.text, result.error


async def test_article_is_read_without_what_is_around_it() -> None:
    async with site() as (served, registry):
        url = served.url("/article")
        result = await registry.run("read_page", json.dumps({"url": url}))
        assert result.error is None
        for said in ("Title: On Cats", "Author: Ann Example", "Date: 2026-01-02", url, "twilight"):
            assert said in result.text
        for said in ("Shop", "evil()", "<p>"):
            assert said not in result.text
        assert [(s.title, s.url) for s in result.sources] == [("On Cats", url)]


async def test_long_page_is_read_in_parts_and_fetched_once() -> None:
    async with site() as (served, registry):
        url = served.url("/long")
        first, _ = await read(registry, url)
        assert "with start=16000" in first
        second, _ = await read(registry, url, start=16000)
        assert first[-200:] not in second
        assert "number 799" in (await read(registry, url, start=32000))[0]
        text, error = await read(registry, url, start=10_000_000)
        assert (error, "characters" in text) == ("invalid_arguments", True)
        assert [head.split(" ")[1] for head in served.seen] == ["/robots.txt", "/long"]


@pytest.mark.parametrize(
    ("path", "said"), [("/paper", "25 hertz"), ("/plain", "Just words."), ("/data", '{"cats": 2}')]
)
async def test_other_documents_are_read(path: str, said: str) -> None:
    async with site() as (served, registry):
        text, error = await read(registry, served.url(path))
        assert error is None
        assert said in text


@pytest.mark.parametrize("charset", ["windows-1251", "no-such-one", "zlib"])
@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
async def test_letters_are_read_as_the_server_says(kind: str, charset: str) -> None:
    said = "Кошки мурлычут, and that is what there is to say of them."
    sent = (said if kind == "text/plain" else ARTICLE % said).encode("windows-1251")
    async with site() as (served, registry):
        served.pages["/said"] = page_of(sent, f"{kind}; charset={charset}")
        text, error = await read(registry, served.url("/said"))
        assert error is None
        assert (said in text) or charset != "windows-1251"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/gone", "not_found"),
        ("/broken", "unavailable"),
        ("/image", "unsupported"),
        ("/damaged", "unsupported"),
        ("/empty", "unsupported"),
        ("/endless", "too_large"),
        ("/bomb", "too_large"),
    ],
)
async def test_what_cannot_be_read_says_why(path: str, why: str) -> None:
    async with site() as (served, registry):
        assert (await read(registry, served.url(path)))[1] == why


async def test_house_is_not_read() -> None:
    async with site() as (_, registry):
        assert (await read(registry, "http://169.254.169.254/latest"))[1] == "not_allowed"
        assert (await read(registry, "file:///etc/passwd"))[1] == "not_allowed"


@pytest.mark.parametrize(
    ("robots", "path", "error"),
    [
        (page_of("User-agent: *\nDisallow: /art\n", "text/plain"), "/article", "robots"),
        (page_of("User-agent: *\nDisallow: /art\n", "text/plain"), "/plain", None),
        (page_of("User-agent: Parley\nDisallow: /\n", "text/plain"), "/plain", "robots"),
        (page_of("", status="503 Busy"), "/plain", "robots"),
        (page_of("", status="403 Forbidden"), "/plain", None),
    ],
)
async def test_robots_are_heard(robots: bytes, path: str, error: str | None) -> None:
    async with site(robots) as (served, registry):
        assert (await read(registry, served.url(path)))[1] == error


async def test_robots_of_where_a_redirect_leads_are_heard() -> None:
    async with web({"/robots.txt": page_of("User-agent: *\nDisallow: /no", "text/plain")}) as other:
        other.pages |= {"/no": page_of("Hidden."), "/yes": page_of("Just words.", "text/plain")}
        pages = {f"/{name}": redirect_to(other.url(f"/{name}")) for name in ("no", "yes")}
        async with web(pages) as served:
            http = HttpConfig(
                networks=(ip_network("127.0.0.1/32"),), ports=frozenset({served.port, other.port})
            )
            async with open_tools(ToolsConfig(http=http)) as registry:
                assert (await read(registry, served.url("/no")))[1] == "robots"
                assert (await read(registry, served.url("/yes")))[1] is None
        asked = [head.split(" ")[1] for head in other.seen]
        assert asked == ["/robots.txt", "/yes"]


async def test_rules_without_end_hold_nobody_else_up() -> None:
    rules = "User-agent: *\n" + "".join(f"Disallow: /*{n}*y*z$\n" for n in range(20_000))
    async with site(page_of(rules, "text/plain")) as (served, registry):
        reading = asyncio.ensure_future(read(registry, served.url("/plain")))
        rounds = 0
        while not reading.done():
            await asyncio.sleep(0)
            rounds += len(served.seen) == 1  # the rules were asked for, the page not yet
        assert (await reading)[1] is None
        assert rounds > 50  # ten, where the rules are read on the loop


async def test_robots_are_not_asked_where_that_is_off() -> None:
    robots = page_of("User-agent: *\nDisallow: /\n", "text/plain")
    async with site(robots, robots=False) as (served, registry):
        assert (await read(registry, served.url("/plain")))[1] is None


async def test_parser_is_ended_when_it_takes_too_long() -> None:
    parser = Parser(timeout_s=0.001)
    with pytest.raises(ToolFailed) as caught:
        await parser.parse(Fetched("http://a/", 200, "text/html", b"<p>x</p>"))
    assert caught.value.why == "timeout"


def test_deep_page_does_not_break_the_parser() -> None:
    assert "text" in extract(b"<div>" * 20_000 + b"deep", "text/html", "http://a/")


def test_pdf_gives_title_and_text() -> None:
    found = extract(pdf_of("Hello"), "application/pdf", "http://a/")
    assert (found["title"], found["author"]) == ("A paper on cats", "Ann")
    assert "Hello" in found["text"]


def test_page_whose_title_has_no_end_still_has_a_text() -> None:
    page = (ARTICLE % "").replace("On Cats - The Daily", "cats " * 99_999)
    page = page.replace("<h1>On Cats</h1>", "")
    assert len(extract(page.encode(), "text/html", "http://a/")["title"]) <= 300


async def test_tools_can_be_off() -> None:
    async with open_tools(ToolsConfig(names=frozenset())) as registry:
        assert registry.names == ()
    async with open_tools(ToolsConfig(names=frozenset({"read_page"}))) as registry:
        assert registry.names == ("read_page",)
