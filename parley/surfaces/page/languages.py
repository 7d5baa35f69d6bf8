"""Languages: Chainlit's part of the page, in the language of who reads it.

Its own texts are named by regions: for ``de-CH`` it has none, and would show English beside our
German. Some are missing, wrong or not true of Parley: languages/chainlit.toml has others. And three
of its words are ours: the greeting of chainlit.md, the link to the account, and what a guest is
called.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import chainlit.server
import msgspec
from chainlit.config import config, config_translation_dir
from chainlit.user import PersistedUser
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.errors import InvalidRequest
from parley.surfaces.texts import ENGLISH, language_of, texts_of

ACCOUNT = "account"
_CHAINLITS = Path(config_translation_dir)
_NONE = "en-US"
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")
_TRADITIONAL = re.compile(r"zh-(?:Hant|TW|HK|MO)\b", re.IGNORECASE)


def language_routes(who: Callable[[Request], Awaitable[PersistedUser]]) -> list[Route]:
    """Make the routes that tell the page its words; `who` says who asks."""
    # It imports the one that reads chainlit.md, and has no other door for another.
    setattr(chainlit.server, "get_markdown_str", greeting)  # noqa: B010

    async def translations(request: Request) -> Response:
        language = config.ui.language or _asked(request)
        tag, texts = chainlit_tag(language), texts_of(language)
        told = msgspec.json.decode((await chainlit.server.project_translations(tag)).body)
        correct(told["translation"], corrections().get(language_of(tag), {}))
        # What public/page/names.js calls what Chainlit has no words for, and the document: Chainlit's
        # says that it is English, and so it would be read aloud.
        ours = {"again": texts.run_again, "details": texts.details, "model": texts.model}
        ours |= msgspec.to_builtins(texts.page)
        told["translation"]["parley"] = ours | {"tag": tag if tag == _NONE else language}
        return JSONResponse(told)

    async def settings(request: Request) -> Response:
        language, profile = _asked(request), request.query_params.get("chat_profile")
        user = await who(request)
        answer = await chainlit.server.project_settings(user, language, profile)
        told = msgspec.json.decode(answer.body)
        for link in told["ui"].get("header_links") or ():
            if link["name"] == ACCOUNT:
                title = texts_of(config.ui.language or language).account.title
                link |= {"name": title, "display_name": title}
        return JSONResponse(told)

    return [
        Route("/project/translations", translations, methods=["GET"]),
        Route("/project/settings", settings, methods=["GET"]),
    ]


def liked_by(connection: HTTPConnection) -> str:
    """Say what the browser of a request likes to read, or what the configuration has for all."""
    return config.ui.language or connection.headers.get("accept-language", "")


def chainlit_tag(tag: str, directory: Path = _CHAINLITS) -> str:
    """Give the name by which Chainlit finds its texts for a language, of whatever region."""
    if (directory / f"{tag}.json").is_file():
        return tag
    language = "zh-TW" if _TRADITIONAL.match(tag) else tag.partition("-")[0].lower()
    return language if any(directory.glob(f"{language}*.json")) else _NONE


@cache
def corrections() -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """Give what Chainlit says and what it should, by language and path."""
    content = files("parley.surfaces").joinpath("languages", "chainlit.toml").read_bytes()
    return msgspec.toml.decode(content, type=dict[str, dict[str, tuple[str, str]]])


def correct(translation: dict[str, Any], better: Mapping[str, tuple[str, str]]) -> None:
    """Correct Chainlit's texts; those that whoever runs the server has written stay."""
    for path, (wrong, right) in better.items():
        *above, name = path.split(".")
        place = translation
        for part in above:
            place = place.setdefault(part, {})
        if place.get(name, "") == wrong:
            place[name] = right


def greeting(root: str, language: str) -> str | None:
    """Read what the page says first: whoever runs the server may have written it, in any language."""
    for name in (f"_{language}", f"_{language.partition('-')[0].lower()}", ""):
        file = Path(root, f"chainlit{name}.md")
        if file.is_file():
            said = file.read_text(encoding="utf-8")
            is_ours = not name and said == texts_of(ENGLISH).greeting
            return texts_of(language).greeting if is_ours else said
    return None


def _asked(request: Request) -> str:
    """Take the language that the page names, of which Chainlit makes a path."""
    tag = request.query_params.get("language", "en-US")
    if not _TAG.fullmatch(tag):
        raise InvalidRequest("A language is named by its tag, like de-CH.")
    return tag
