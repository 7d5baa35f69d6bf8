"""Problems: all that is wrong with a configuration, at once, each with what to do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from typing_extensions import override

from parley.settings.environment import Environment, is_secret, setting_names
from parley.settings.identity_problems import identity_problems
from parley.settings.secret import weakness

EXIT_CODE = 2
# Of a URL, also of one whose scheme was forgotten; and what it asks, where keys are too.
_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@|[^\s/@'\"]+:[^\s/@'\"]+@")
_QUERY = re.compile(r"(/[^\s?]*\?)[^\s'\"]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One setting that cannot be used as it is; `value` is masked where it is secret."""

    name: str
    value: str
    mend: str

    @override
    def __str__(self) -> str:
        """Render the problem as one line."""
        return f"{self.name}={self.value}: {self.mend}"


class ConfigurationError(Exception):
    """The configuration cannot be used."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep all problems; the message lists them."""
        super().__init__("\n".join(["Parley cannot start:", *(f"  {p}" for p in problems)]))
        self.problems = problems


def read_environment() -> Environment:
    """Read the environment; raises `ConfigurationError` with every problem that it has."""
    environment, problems = examine_environment()
    if problems:
        raise ConfigurationError(problems)
    return environment


def examine_environment() -> tuple[Environment, list[Problem]]:
    """Read the environment, and every problem that it has, with defaults where one is."""
    try:
        environment, problems = Environment(), []
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors(include_url=False)]
        # What is wrong beyond single values is looked for all the same, with defaults instead.
        environment = _repaired({problem.name.split(" ")[0] for problem in problems})
    named = {problem.name.split(" ")[0] for problem in problems}
    beyond = [p for p in _beyond_single_values(environment) if p.name not in named]
    return environment, problems + beyond


def masked(text: str) -> str:
    """Leave out the credentials of URLs, and their queries."""
    return _QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def _problem(details: Mapping[str, Any]) -> Problem:
    location = str(details["loc"][0])
    field = next(
        name
        for name in Environment.model_fields
        if location.lower() in {name, *map(str.lower, setting_names(name))}
    )
    value = "***" if is_secret(field) else masked(repr(details["input"]))
    reason = str(details["msg"]).removeprefix("Value error, ")
    description = Environment.model_fields[field].description
    first, *others = setting_names(field)
    name = f"{first} ({', '.join(others)})" if others else first
    return Problem(name, value, f"{reason}. ({description})")


def _repaired(bad_names: set[str]) -> Environment:
    defaults: dict[str, Any] = {
        setting_names(name)[0] if field.validation_alias else name: field.default
        for name, field in Environment.model_fields.items()
        if setting_names(name)[0] in bad_names
    }
    return Environment(**defaults)


def _beyond_single_values(environment: Environment) -> list[Problem]:
    production = environment.environment == "production"
    url = environment.public_url or environment.space_host
    found = identity_problems(environment, production=production, url=bool(url))
    problems = [Problem(*parts) for parts in found]
    secret = environment.parley_secret
    if production and (why := weakness(secret or "")):
        mend = f"production wants one, and {why}. Make it with: openssl rand -hex 32"
        problems.append(Problem("PARLEY_SECRET", "***" if secret else "", mend))
    return problems
