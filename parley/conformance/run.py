"""The run: all checks on one server, one after the other."""

from dataclasses import replace
from typing import Any

from parley.conformance.abilities import ABILITIES
from parley.conformance.checks import NATIVE, check_stream, check_system
from parley.conformance.questions import DialectName, Questions
from parley.conformance.reading import said
from parley.conformance.report import BASICS, Finding, Report
from parley.conformance.subject import Subject
from parley.conformance.wire import open_wire
from providers.complaints import without
from providers.config import Connection
from providers.secret_parts import secrets_of, without_userinfo

_WINDOWS = ("max_model_len", "context_length", "max_total_tokens")


async def examine(
    base_url: str,
    *,
    dialect: DialectName = "openai",
    api_key: str | None = None,
    model: str | None = None,
    timeout_s: float = 15.0,
) -> Report:
    """Find out what a server does, with at most 24 requests of few tokens each; never raises."""
    questions = Questions(dialect, model or "")
    async with open_wire(base_url, api_key, timeout_s) as wire:
        subject = Subject(wire, questions)
        findings = [await _list(subject), *await check_stream(subject)]
        verdicts = {finding.name: finding.verdict for finding in findings}
        if all(verdicts[name] != "no" for name in BASICS):
            chat = () if dialect == "tgi" else (check_system, *ABILITIES)
            for check in (*chat, *NATIVE):
                findings += await check(subject)
        # A report is shown to others, and servers repeat what they refuse.
        secrets = secrets_of(Connection("", wire.address, api_key, query=wire.query))
        told = (replace(f, details=without(f.details, *secrets)) for f in findings)
        address = without_userinfo(wire.address)
        return Report(
            address, dialect, questions.model, tuple(told), wire.requests, subject.figures
        )


async def _list(subject: Subject) -> Finding:
    """Ask which models there are, and take the first unless one was named."""
    native = subject.questions.dialect == "tgi"
    response = await subject.wire.get("/info" if native else "/models")
    rows = _rows(response.json, native=native)
    names = [name for name, _ in rows]
    subject.questions.model = subject.questions.model or next(iter(names), "default")
    subject.window = next((w for name, w in rows if name == subject.questions.model), None)
    if response.status == 200 and names:
        window = f", window {subject.window}" if subject.window else ""
        return Finding("models", "yes", ", ".join(names[:5]) + window)
    status = f"{response.status}: " if response.status else ""
    return Finding("models", "no", f"{status}{said(response)}")


def _rows(document: Any, *, native: bool) -> list[tuple[str, int | None]]:
    """Read names and windows from what servers list."""
    if not isinstance(document, dict):
        return []
    listed = [document] if native else document.get("data")
    named = [row for row in listed or () if isinstance(row, dict)]
    name = "model_id" if native else "id"
    return [(row[name], _window(row)) for row in named if isinstance(row.get(name), str)]


def _window(row: dict[str, Any]) -> int | None:
    meta = row.get("meta")  # llama.cpp's place for it
    found = [row.get(name) for name in _WINDOWS]
    found.append(meta.get("n_ctx") if isinstance(meta, dict) else None)
    return next((value for value in found if isinstance(value, int)), None)
