"""The page's scripts and styles: packed once, kept by browsers, and nothing beside them."""

from pathlib import Path

import httpx2
from fastapi import FastAPI

from parley.surfaces.http.failures import add_refusal_handlers
from parley.surfaces.page.assets import asset_route

SCRIPT = "export const answer = 42;\n" * 1000


async def ask(directory: Path, name: str, accepts: str = "gzip, br") -> httpx2.Response:
    (directory / "assets" / "parts").mkdir(parents=True)
    (directory / "secret.js").write_text("no")
    for file in ("index-1a2b.js", "parts/index-1a2b.css", "font.woff2"):
        (directory / "assets" / file).write_text(SCRIPT)
    app = FastAPI(routes=[asset_route(directory / "assets")])
    add_refusal_handlers(app)
    transport = httpx2.ASGITransport(app=app)
    headers = {"accept-encoding": accepts}
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley") as client:
        await client.get(f"/assets/{name}", headers=headers)
        return await client.get(f"/assets/{name}", headers=headers)


async def test_scripts_are_packed_and_kept(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "index-1a2b.js")
    assert answer.text == SCRIPT
    assert int(answer.headers["content-length"]) < len(SCRIPT) / 10
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]


async def test_styles_in_a_folder_are_found(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "parts/index-1a2b.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["content-encoding"] == "gzip"


async def test_who_cannot_unpack_gets_it_as_it_is(tmp_path: Path) -> None:
    answer = await ask(tmp_path, "index-1a2b.js", accepts="identity")
    assert (answer.text, "content-encoding" in answer.headers) == (SCRIPT, False)


async def test_what_is_packed_already_is_not_packed_again(tmp_path: Path) -> None:
    assert "content-encoding" not in (await ask(tmp_path, "font.woff2")).headers


async def test_nothing_beside_the_folder_is_found(tmp_path: Path) -> None:
    for name in ("../secret.js", "%2e%2e/secret.js", "parts", "none.js", ""):
        assert (await ask(tmp_path / f"of-{len(name)}", name)).status_code == 404, name
