"""Safe HTTP: out to the internet and nowhere else, however it is asked, in bounds of size and time."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.tools.failures import ToolFailed
from parley.tools.safe_http import Fetched, HttpConfig, check_url, open_http
from tests.fakes.web import Web, bomb, dns, endless, endless_behind, page_of, redirect_to, slow, web
from tests.patience import PATIENCE_S

HOME = (ip_network("127.0.0.1/32"),)
STRICT = HttpConfig(total_s=PATIENCE_S)


def at_home(served: Web, **changes: object) -> HttpConfig:
    """A configuration for which the test's server is on the internet."""
    config = replace(STRICT, networks=HOME, ports=frozenset({80, 443, served.port}))
    return replace(config, **changes)  # type: ignore[arg-type]  # names of HttpConfig


async def fetch(config: HttpConfig, url: str, **options: object) -> Fetched:
    async with open_http(config) as http:
        return await http.get(url, **options)  # type: ignore[arg-type]  # names of `get`


async def refusal(config: HttpConfig, url: str, **options: object) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        await fetch(config, url, **options)
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://0/",
        "http://10.0.0.1/",
        "http://[fd00:ec2::254]/",
    ],
)
async def test_house_is_not_entered_in_any_notation(url: str) -> None:
    async with web({"/": page_of("secret")}) as served:
        port = f":{served.port}/"
        config = replace(STRICT, ports=frozenset({served.port}))
        head, _, path = url.rpartition("/")
        failed = await refusal(config, f"{head.rstrip('/')}{port}{path}")
        assert failed.why in {"not_allowed", "unavailable", "invalid_arguments"}
        assert not served.seen


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "not_allowed"),
        ("ftp://example.org/", "not_allowed"),
        ("gopher://example.org/", "not_allowed"),
        ("http://user:pass@example.org/", "not_allowed"),
        ("http://user@example.org/", "not_allowed"),
        ("http://example.org:22/", "not_allowed"),
        ("http://example.org:8080/", "not_allowed"),
        ("//example.org/", "not_allowed"),
        ("example.org", "not_allowed"),
        ("http://", "invalid_arguments"),
        ("http://exa mple.org/", "invalid_arguments"),
        ("http://example.org\\@127.0.0.1/", "invalid_arguments"),
        ("http://example.org/\r\nHost: x", "invalid_arguments"),
        ("http://example.org:99999/", "invalid_arguments"),
        ("http://[::1/", "invalid_arguments"),
        ("http://example.org/" + "x" * 3000, "invalid_arguments"),
    ],
)
def test_what_is_no_web_address_is_refused(url: str, why: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        check_url(url, STRICT)
    assert caught.value.why in {why, "not_allowed"}


async def test_name_that_leads_into_the_house_is_refused() -> None:
    async with web({"/": page_of("secret")}) as served, dns("127.0.0.1") as names:
        config = replace(STRICT, ports=frozenset({served.port}), lookup=names.lookup)
        failed = await refusal(config, served.url(host="rebind.example"))
        assert failed.why == "not_allowed"
        assert not served.seen


async def test_name_is_looked_up_once_and_that_address_is_connected_to() -> None:
    """A rebinding server: the first answer is allowed, every later one is the house's."""
    async with web({"/": page_of("fine")}) as served, dns("127.0.0.1", "127.0.0.2") as names:
        config = at_home(served, lookup=names.lookup)
        assert (await fetch(config, served.url(host="rebind.example"))).body == b"fine"
        assert names.names.asked == 1
        assert f"Host: rebind.example:{served.port}" in served.seen[0]
        failed = await refusal(config, served.url(host="rebind.example"))
        assert failed.why == "not_allowed"


async def test_of_several_addresses_only_the_allowed_are_used() -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "127.0.0.1", "169.254.169.254"]

    async with web({"/": page_of("fine")}) as served:
        config = at_home(served, lookup=both)
        assert (await fetch(config, served.url(host="a.example"))).body == b"fine"


async def test_redirect_is_checked_like_the_first_address() -> None:
    async with web({"/secret": page_of("secret")}) as house:
        pages = {
            "/in": redirect_to(house.url("/secret", host="127.0.0.2")),
            "/file": redirect_to("file:///etc/passwd"),
            "/ok": redirect_to("/end"),
            "/end": page_of("end"),
            "/loop": redirect_to("/loop"),
            "/bad": redirect_to("http://[oops"),
        }
        async with web({**pages}) as served:
            config = at_home(served)
            assert (await refusal(config, served.url("/in"))).why == "not_allowed"
            assert (await refusal(config, served.url("/file"))).why == "not_allowed"
            assert (await refusal(config, served.url("/loop"))).why == "unavailable"
            assert (await refusal(config, served.url("/bad"))).why == "unavailable"
            fetched = await fetch(config, served.url("/ok"))
            assert (fetched.body, fetched.url) == (b"end", served.url("/end"))
        assert not house.seen


async def test_secret_headers_do_not_follow_to_another_origin() -> None:
    async with web({"/": page_of("other")}) as other, web({}) as served:
        served.pages["/"] = redirect_to(other.url())
        config = at_home(served, ports=frozenset({served.port, other.port}))
        await fetch(config, served.url(), headers={"X-Key": "secret"})
        assert "secret" in served.seen[0]
        assert "secret" not in other.seen[0]


async def test_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web({"/": page_of("fine")}) as served:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert (await fetch(at_home(served), served.url())).body == b"fine"


async def test_no_cookie_is_kept() -> None:
    page = page_of("", extra="Set-Cookie: a=b\r\n")
    async with web({"/": page}) as served, open_http(at_home(served)) as http:
        await http.get(served.url())
        await http.get(served.url())
        assert "ookie" not in served.seen[1]


@pytest.mark.parametrize("path", ["/told", "/endless", "/bomb"])
async def test_large_pages_are_ended_early(path: str) -> None:
    told = b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\nContent-Type: text/plain\r\n\r\n"
    async with web({"/told": told, "/endless": endless, "/bomb": bomb(100)}) as served:
        config = at_home(served)
        tracemalloc.start()
        try:
            assert (await refusal(config, served.url(path))).why == "too_large"
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


async def test_bytes_behind_a_packed_page_are_not_kept() -> None:
    async with web({"/": endless_behind(gzip.compress(b"hi"))}) as served:
        tracemalloc.start()
        try:
            assert (await fetch(at_home(served), served.url())).body == b"hi"
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


async def test_packed_page_that_unpacks_to_nothing_is_ended_early() -> None:
    head = gzip.compress(b"")[:10]
    async with web({"/": endless_behind(head)}) as served:
        assert (await refusal(at_home(served), served.url())).why == "too_large"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_unknown_packing_is_refused(encoding: str) -> None:
    page = page_of("x", extra=f"Content-Encoding: {encoding}\r\n")
    async with web({"/": page}) as served:
        assert (await refusal(at_home(served), served.url())).why == "unsupported"


async def test_packed_page_is_unpacked_and_a_broken_one_is_not() -> None:
    whole = bomb(1)
    damaged = page_of(b"no gzip at all", extra="Content-Encoding: gzip\r\n")
    async with web({"/": whole, "/damaged": damaged}) as served:
        assert (await fetch(at_home(served), served.url())).body == bytes(2**20)
        assert (await refusal(at_home(served), served.url("/damaged"))).why == "unavailable"


async def test_silent_server_is_left() -> None:
    async with web({"/": slow}) as served:
        failed = await refusal(at_home(served, total_s=0.2), served.url())
        assert failed.why == "timeout"


async def test_type_that_is_not_wanted_is_refused() -> None:
    async with web({"/": page_of("MZ", kind="application/x-msdownload")}) as served:
        config = at_home(served)
        assert (await refusal(config, served.url(), types=("text/",))).why == "unsupported"
        assert (await fetch(config, served.url(), types=("application/x-msdownload",))).body


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 banana\r\n\r\n", b"\0" * 100 + b"\r\n\r\n"])
async def test_nonsense_is_unavailable(answer: bytes) -> None:
    async with web({"/": answer}) as served:
        assert (await refusal(at_home(served), served.url())).why == "unavailable"


async def test_nobody_there_is_unavailable() -> None:
    async with web({}) as served:
        config = at_home(served)
    assert (await refusal(config, served.url())).why == "unavailable"


async def test_named_host_is_reached_wherever_it_is_and_nothing_beside_it() -> None:
    async def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with web({"/": page_of("found")}) as service, web({"/": page_of("secret")}) as house:
        config = replace(
            STRICT,
            hosts=frozenset({("searxng", service.port)}),
            lookup=inside,
            ports=frozenset({house.port}),
        )
        assert (await fetch(config, service.url(host="searxng"))).body == b"found"
        assert (await refusal(config, house.url(host="searxng"))).why == "not_allowed"
        assert not house.seen


def _written(address: IPv4Address) -> st.SearchStrategy[str]:
    """Write an address as `inet_aton` and URLs know it: octal, hex, short, mapped, in other digits."""
    number, parts = int(address), str(address).split(".")
    part = [st.sampled_from([p, f"0{int(p):o}", f"0x{int(p):x}", f"000{int(p):o}"]) for p in parts]
    rest = number & 0xFFFFFF
    wide = str(address).translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})
    return st.one_of(
        st.tuples(*part).map(".".join),
        st.sampled_from(
            [
                str(number),
                f"0x{number:x}",
                f"0{number:o}",
                f"{parts[0]}.{rest}",
                f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
                f"{address}.",
                f"[::ffff:{address}]",
                f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
                f"[64:ff9b::{address}]",
                wide,
                str(address).replace(".", "\u3002"),
                "".join(f"%{ord(sign):02x}" for sign in str(address)),
            ]
        ),
    )


HERE = st.integers(0x7F000000, 0x7FFFFFFF).map(IPv4Address)


@settings(max_examples=300, deadline=None)
@given(HERE.flatmap(_written), st.sampled_from(["/", "", "/?a=b", "/#x"]))
def test_no_notation_leads_here(host: str, path: str) -> None:
    async def check() -> None:
        async with web({"/": page_of("secret")}) as served:
            config = replace(STRICT, ports=frozenset({served.port}))
            failed = await refusal(config, f"http://{host}:{served.port}{path}")
            assert failed.why in {"not_allowed", "unavailable", "invalid_arguments"}
            assert not served.seen

    asyncio.run(check())
