"""The report: what was found, as a table for people and as JSON for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

Verdict = Literal["yes", "no", "partly", "unknown"]

# Without these no client can use the server.
BASICS = ("streaming", "finish reason")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a server does, or does not, and how that was seen."""

    name: str
    verdict: Verdict
    details: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found of one server; `figures` are measured once and mean no more than that."""

    base_url: str
    dialect: str
    model: str
    findings: tuple[Finding, ...]
    requests: int
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the basics work."""
        verdicts = {finding.name: finding.verdict for finding in self.findings}
        return all(verdicts.get(name) in {"yes", "partly"} for name in BASICS)


def as_json(report: Report) -> str:
    """Write the report for machines."""
    return json.dumps({"usable": report.usable, **asdict(report)}, indent=2, ensure_ascii=False)


def as_table(report: Report) -> str:
    """Write the report for people."""
    lines = [f"{report.base_url} ({report.dialect}), model {report.model or 'unknown'}", ""]
    lines += _rows(report.findings)
    figures = ", ".join(f"{name} {value:g}" for name, value in report.figures.items())
    end = "The basics work." if report.usable else "The basics do not work."
    if not report.usable and report.findings[0].details.startswith(("401:", "403:")):
        end += " It wants a key, or another one: --api-key-env names its variable."
    return "\n".join(
        [*lines, "", *([figures] if figures else []), f"{end} {report.requests} requests."]
    )


def _rows(findings: Sequence[Finding]) -> list[str]:
    width = max((len(finding.name) for finding in findings), default=0)
    return [f"{f.name:<{width}}  {f.verdict:<7}  {f.details}".rstrip() for f in findings]
