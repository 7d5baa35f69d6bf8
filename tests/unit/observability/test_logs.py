"""Logs: the two forms, to the letter, since people grep them and machines parse them."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from asgi_correlation_id import correlation_id

from parley.observability.logs import LogConfig, configure_logs, get_logger

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


class Lines(io.StringIO):
    def last(self) -> str:
        return self.getvalue().splitlines()[-1]

    def json(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.last())
        return fields


@pytest.fixture
def configured() -> Iterator[Any]:
    """Configure the logs of this process, and put everything back."""
    root, known = logging.getLogger(), list(logging.root.manager.loggerDict)
    before = (root.handlers, root.level)
    loggers = {
        n: (
            logging.getLogger(n).handlers,
            logging.getLogger(n).level,
            logging.getLogger(n).propagate,
        )
        for n in known
    }
    token = correlation_id.set(None)

    def configure(
        form: Literal["console", "json"], level: Literal["INFO", "DEBUG"] = "INFO"
    ) -> Lines:
        lines = Lines()
        configure_logs(LogConfig(level, form), lines)
        return lines

    yield configure
    correlation_id.reset(token)
    structlog.reset_defaults()
    root.handlers, root.level = before
    for name, (handlers, level, propagate) in loggers.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_console_line(configured: Any) -> None:
    lines = configured("console")
    correlation_id.set("abc-123-def")
    get_logger("parley.surfaces.sse").info("Chat request", session="5f2a91c0")
    rest = " - INFO - [abc-123-def] - parley.surfaces.sse - Chat request - session: 5f2a91c0"
    assert re.fullmatch(STAMP + re.escape(rest), lines.last())


def test_a_json_line(configured: Any) -> None:
    lines = configured("json")
    correlation_id.set("abc-123-def")
    get_logger("parley.chat.running").info("Turn ended", turn_id="t", model="demo:echo")
    fields = lines.json()
    assert list(fields) == [
        "timestamp",
        "level",
        "request_id",
        "name",
        "message",
        "turn_id",
        "model",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", fields.pop("timestamp"))
    assert fields == {
        "level": "INFO",
        "request_id": "abc-123-def",
        "name": "parley.chat.running",
        "message": "Turn ended",
        "turn_id": "t",
        "model": "demo:echo",
    }


def test_outside_a_request_there_is_no_id(configured: Any) -> None:
    lines = configured("json")
    get_logger("parley.app").info("Parley is ready")
    assert lines.json()["request_id"] == "-"


@pytest.mark.parametrize("name", ["uvicorn.error", "chainlit", "sqlalchemy.engine", "anything"])
def test_lines_of_libraries_go_the_same_way(configured: Any, name: str) -> None:
    logging.getLogger(name).addHandler(logging.StreamHandler(io.StringIO()))
    lines = configured("json")
    correlation_id.set("abc")
    logging.getLogger(name).warning("Something about %s", "it")
    fields = lines.json()
    assert list(fields) == ["timestamp", "level", "request_id", "name", "message"]
    assert (fields["level"], fields["name"]) == ("WARNING", name)
    assert (fields["request_id"], fields["message"]) == ("abc", "Something about it")
    assert len(lines.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["uvicorn.access", "httpx2", "httpcore2.http11", "socketio.server", "engineio.server"]
)
def test_talkative_libraries_are_quiet(configured: Any, name: str) -> None:
    lines = configured("console", "DEBUG")
    logging.getLogger(name).info("GET /?token=abc")
    assert lines.getvalue() == ""


def test_below_the_level_nothing_is_said(configured: Any) -> None:
    lines = configured("console")
    get_logger("parley").debug("x")
    logging.getLogger("anything").debug("x")
    assert lines.getvalue() == ""


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "cookie",
        "Set-Cookie",
        "password",
        "client_secret",
        "api_key",
        "access_token",
        "OPENAI_API_KEY",
    ],
)
@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_masked_by_name(
    configured: Any, key: str, form: Literal["console", "json"]
) -> None:
    lines = configured(form)
    get_logger("parley").info("x", **{key: "hunter2"})
    assert "hunter2" not in lines.getvalue()
    assert "***" in lines.getvalue()


@pytest.mark.parametrize("key", ["input_tokens", "output_tokens", "dropped_tokens", "max_tokens"])
def test_counts_of_tokens_are_no_secrets(configured: Any, key: str) -> None:
    lines = configured("json")
    get_logger("parley").info("x", **{key: 7})
    assert lines.json()[key] == 7


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x00b", "a\u2028b", "a\x85b", "a\ud800b"]
)
@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_is_one_line(configured: Any, text: str, form: Literal["console", "json"]) -> None:
    """A path with %0A in it must not write a line of its own, nor paint the terminal."""
    lines = configured(form)
    get_logger("parley").warning("Refused", path=text)
    assert len(lines.getvalue().splitlines()) == 1
    assert lines.getvalue().replace("\n", "").isprintable()


def test_a_librarys_message_of_many_lines_stays_readable(configured: Any) -> None:
    lines = configured("console")
    logging.getLogger("uvicorn.error").error("Traceback:\n  File x\r\nFORGED - INFO\n")
    first, *more = lines.getvalue().splitlines()
    assert first.endswith(" - uvicorn.error - Traceback:")
    assert more == ["      File x\\r", "    FORGED - INFO"]


@pytest.mark.parametrize("name", ["parley.chat", "anything"])
def test_a_failure_has_its_traceback(configured: Any, name: str) -> None:
    logger = get_logger(name) if name.startswith("parley") else logging.getLogger(name)
    for form in ("console", "json"):
        lines = configured(form)
        try:
            int("why")
        except ValueError:
            logger.exception("Turn failed")
        assert "ValueError: invalid literal" in lines.getvalue()
        assert "Traceback" in lines.getvalue()
