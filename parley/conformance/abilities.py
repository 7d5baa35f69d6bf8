"""Abilities: what a server of chat may do beyond text: JSON, tools, images."""

import json

from parley.conformance.questions import SCHEMA
from parley.conformance.reading import Reading
from parley.conformance.report import Finding
from parley.conformance.subject import Check, Subject

_JSON = "Answer with a JSON object that has one key, city."
_WEATHER = "What is the weather in Paris?"


async def check_json(subject: Subject) -> list[Finding]:
    """Ask for JSON."""
    form = {"type": "json_object"}
    answer = await subject.ask(_JSON, max_tokens=64, response_format=form)
    if not answer.ok:
        return [Finding("JSON mode", "no", answer.trouble)]
    document, finding = _document("JSON mode", answer)
    return [finding if document is None else Finding("JSON mode", "yes", "JSON")]


async def check_schema(subject: Subject) -> list[Finding]:
    """Ask for JSON of a schema."""
    name = "JSON by a schema"
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    # The last word is TGI's, which reads over OpenAI's.
    form["value"] = form["json_schema"]
    answer = await subject.ask(_JSON, max_tokens=64, response_format=form)
    if not answer.ok:
        return [Finding(name, "no", answer.trouble)]
    document, finding = _document(name, answer)
    if document is None:
        return [finding]
    fits = isinstance(document, dict) and isinstance(document.get("city"), str)
    return [Finding(name, "yes" if fits else "no", "of it" if fits else "JSON, and not of it")]


def _document(name: str, answer: Reading) -> tuple[object, Finding]:
    """Read the JSON of an answer, or find that it is none."""
    try:
        return json.loads(answer.text), Finding(name, "yes", "")
    except ValueError:
        begins = answer.text.lstrip().startswith("{") and answer.finish == "length"
        how = "JSON, cut off at the limit" if begins else "accepted, and not JSON"
        return None, Finding(name, "partly" if begins else "no", how)


async def check_tools(subject: Subject) -> list[Finding]:
    """Offer a tool that may be called, then one that must be."""
    answer = await subject.ask(_WEATHER, max_tokens=64, tools="auto")
    forced = await subject.ask(_WEATHER, max_tokens=64, tools="required")
    return [_calls("tools", answer), _calls("a tool that must be called", forced)]


def _calls(name: str, answer: Reading) -> Finding:
    if not answer.ok:
        return Finding(name, "no", answer.trouble)
    calls = answer.tool_calls
    if not calls:
        must = name != "tools"
        return Finding(name, "no" if must else "unknown", "accepted, and not called")
    index = "with index" if all("index" in call for call in calls) else "without index"
    return Finding(name, "yes", f"{len(calls)} deltas, {index}, finish {answer.finish}")


async def check_results(subject: Subject) -> list[Finding]:
    """Show what a call gave: a chat template has to know such messages."""
    answer = await subject.ask(_WEATHER, max_tokens=8, tools="auto", results=True)
    details = "accepted" if answer.ok else answer.trouble
    return [Finding("results of tools", "yes" if answer.ok else "no", details)]


async def check_images(subject: Subject) -> list[Finding]:
    """Show a picture of one red pixel."""
    answer = await subject.ask("What colour is it?", max_tokens=8, image=True)
    details = "accepted" if answer.ok else answer.trouble
    return [Finding("images", "yes" if answer.ok else "no", details)]


ABILITIES: tuple[Check, ...] = (
    check_json,
    check_schema,
    check_tools,
    check_results,
    check_images,
)
