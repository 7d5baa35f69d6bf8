"""File: `parley.toml`, its models, starters and plug-ins; all that is wrong with it at once."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from parley.settings.environment import Environment
from parley.settings.file_shape import (
    FileShape,
    ModelShape,
    ProfileShape,
    StarterShape,
    drop,
    keys_beside,
    nearest,
)
from parley.settings.oauth import users_pay
from parley.settings.problems import Problem, masked
from parley.surfaces.starters import Profile, Starter
from parley.tools import Tool
from parley.tools.opening import BUILT_IN
from parley.tools.plugins import installed as installed_tools
from parley.tools.plugins import tools_of_file
from providers.config import Function, ModelConfig
from providers.dialects import DIALECTS
from providers.plugins import PluginFailed, installed, load_plugin
from providers.standard import KEY_SETTINGS

DEFAULT_PATH = Path("parley.toml")

_SECRET_WORDS = re.compile(r"key|token|secret|password", re.IGNORECASE)
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class FileConfig:
    """What `parley.toml` says."""

    default_model: str | None = None
    models: tuple[ModelConfig, ...] = ()
    starters: tuple[Starter, ...] = ()
    profiles: tuple[Profile, ...] = ()
    functions: Mapping[str, Function] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()


def read_file(environment: Environment) -> tuple[FileConfig, list[Problem]]:
    """Read `parley.toml`, if there is one, and everything that is wrong with it.

    Runs the plug-ins that it names. What has a problem is left out of the config.
    """
    path = environment.parley_config or DEFAULT_PATH
    if environment.parley_config is None and not path.exists():
        return FileConfig(), []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mend = f"it cannot be read: {error.strerror}. Write the path of a file, or nothing."
        return FileConfig(), [Problem("PARLEY_CONFIG", str(path), mend)]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return FileConfig(), [Problem("PARLEY_CONFIG", str(path), f"it is not valid TOML: {error}")]
    return _Reader(path, environment).read(document)


class _Reader:
    """Reads one file and collects its problems."""

    def __init__(self, path: Path, environment: Environment) -> None:
        self._path = path
        self._environment = environment
        self._variables = {**dotenv_values(".env"), **os.environ}
        self._problems: list[Problem] = []
        self._tools: dict[str, Tool] = {}

    def read(self, document: dict[str, Any]) -> tuple[FileConfig, list[Problem]]:
        shape = self._shape(document)
        functions = self._functions(shape.plugins)
        providers = {*DIALECTS, "demo", *functions, *installed()}
        ids = {*shape.models, *functions}
        models = []
        for name, model in shape.models.items():
            self._check(name, model, providers, ids, functions)
            models.append(self._config(name, model))
        self._check_cycles(shape.models)
        if (default := shape.default_model) and ":" not in default:
            self._known("default_model", default, ids | providers, "model")
        for profile in shape.profiles:
            if profile.model and ":" not in profile.model:
                here = f"profiles.{profile.label}.model"
                self._known(here, profile.model, ids | providers, "model")
        self._check_labels(shape)
        config = FileConfig(
            shape.default_model,
            tuple(models),
            _starters(shape.starters),
            tuple(map(_profile, shape.profiles)),
            functions,
            tuple(self._tools.values()),
        )
        return config, self._problems

    def _check_labels(self, shape: FileShape) -> None:
        labels = [profile.label for profile in shape.profiles]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            self._say("profiles", label, "two profiles have this label. Rename one.")

    def _say(self, name: str, value: object, mend: str) -> None:
        shown = value if isinstance(value, str) and not value else masked(repr(value))
        if len(shown) > _SHOWN_CHARS:
            shown = shown[:_SHOWN_CHARS] + "…"
        self._problems.append(Problem(f"{name} ({self._path})", shown, mend))

    def _shape(self, document: dict[str, Any]) -> FileShape:
        """Fit the document; where it does not, without the values that are wrong."""
        while True:
            try:
                return FileShape.model_validate(document)
            except ValidationError as error:
                for details in error.errors(include_url=False):
                    self._misfit(details)
                    drop(document, details)

    def _misfit(self, details: Any) -> None:
        where = [str(part) for part in details["loc"] if part != "[key]"]
        name, last = ".".join(where), where[-1]
        value = details["input"]
        if _SECRET_WORDS.search(last):
            value = "***"
        elif isinstance(value, dict | list):
            value = ""
        match details["type"]:
            case "extra_forbidden":
                known = keys_beside(where)
                self._say(name, value, f"there is no such key. {nearest(last, known)}")
            case "missing":
                self._say(name, "", "it is missing. Write it.")
            case _:
                reason = str(details["msg"]).removeprefix("Value error, ")
                self._say(name, value, f"{reason}.")

    def _functions(self, plugins: list[str]) -> dict[str, Function]:
        functions: dict[str, Function] = {}
        for plugin in plugins:
            path = self._path.parent / plugin
            try:
                found, tools = tools_of_file(path, partial(load_plugin, path))
            except PluginFailed as error:
                self._say("plugins", plugin, f"{error}.")
                continue
            if not found and not tools:
                mend = 'it registers nothing: write @provider("name") or @tool() above a function.'
                self._say("plugins", plugin, mend)
            for function in found:
                self._add(functions, function, plugin)
            for tool in tools:
                self._add_tool(tool, plugin)
        return functions

    def _add_tool(self, tool: Tool, plugin: str) -> None:
        name = tool.spec.name
        if name in self._tools or name in {*BUILT_IN, *installed_tools()}:
            self._say("plugins", plugin, f"a tool named {name!r} exists: choose another name.")
        else:
            self._tools[name] = tool

    def _add(self, functions: dict[str, Function], function: Function, plugin: str) -> None:
        name, taken = function.name, {*DIALECTS, "demo", *installed()}
        if name in functions:
            other = functions[name].origin
            self._say("plugins", plugin, f"{name!r} is registered twice, also in {other}.")
        elif name in taken:
            self._say("plugins", plugin, f"a provider named {name!r} exists: choose another name.")
        else:
            functions[name] = function

    def _check(
        self,
        name: str,
        model: ModelShape,
        providers: set[str],
        ids: set[str],
        functions: Mapping[str, Function],
    ) -> None:
        here = f"models.{name}"
        known = self._known(f"{here}.provider", model.provider, providers, "provider")
        for tool in model.use_tools or ():
            there = {*BUILT_IN, *self._tools, *installed_tools()}
            self._known(f"{here}.use_tools", tool, there, "tool")
        for fallback in model.fallbacks:
            self._known(f"{here}.fallbacks", fallback, ids, "model")
        if name in functions and model.provider != name:
            mend = f"a plug-in's provider {name!r} has this id: give the model another one."
            self._say(here, "", mend)
        self._check_key(here, model)
        if known and not model.base_url and not model.api_key_env:
            self._check_standard(here, model.provider)

    def _known(self, name: str, value: str, known: set[str], what: str) -> bool:
        if value not in known:
            self._say(name, value, f"there is no such {what}. {nearest(value, known)}")
        return value in known

    def _check_key(self, here: str, model: ModelShape) -> None:
        variable = model.api_key_env
        if variable is None:
            return
        owner = next((p for p, setting in KEY_SETTINGS.items() if setting == variable), None)
        if owner not in {None, model.provider}:
            mend = f"that key is {owner}'s. Put this provider's key into a variable of its own."
            self._say(f"{here}.api_key_env", variable, mend)
        elif not (self._variables.get(variable) or "").strip():
            mend = "this variable is not set. Set it in the environment or in .env."
            self._say(f"{here}.api_key_env", variable, mend)

    def _check_standard(self, here: str, provider: str) -> None:
        """See that the environment has what this provider needs where a row says nothing."""
        environment = self._environment
        have = {
            "openai": environment.openai_api_key or environment.openai_base_url,
            "tgi": environment.tgi_base_url,
            "huggingface": environment.hf_token or users_pay(environment),
            "gemini": environment.gemini_api_key,
        }
        if provider in have and not have[provider]:
            setting = "TGI_BASE_URL" if provider == "tgi" else KEY_SETTINGS[provider]
            mend = f"{setting} is not set. Set it, or write a base_url or an api_key_env."
            self._say(f"{here}.provider", provider, mend)

    def _check_cycles(self, models: Mapping[str, ModelShape]) -> None:
        for name in models:
            path = _cycle(name, models)
            if path:
                shown = " -> ".join(path)
                self._say(f"models.{name}.fallbacks", shown, "they lead back. Take one out.")

    def _config(self, name: str, model: ModelShape) -> ModelConfig:
        key = (self._variables.get(model.api_key_env or "") or "").strip() or None
        values = model.model_dump() | {"fallbacks": tuple(model.fallbacks)}
        if model.use_tools is not None:
            values["use_tools"] = tuple(model.use_tools)
        return ModelConfig(id=name, api_key=key, **values)


def _starters(shapes: Sequence[StarterShape]) -> tuple[Starter, ...]:
    return tuple(Starter(shape.label, shape.message) for shape in shapes)


def _profile(shape: ProfileShape) -> Profile:
    return Profile(
        label=shape.label,
        description=shape.description,
        model=shape.model,
        system_prompt=shape.system_prompt,
        temperature=shape.temperature,
        starters=_starters(shape.starters),
    )


def _cycle(name: str, models: Mapping[str, ModelShape]) -> list[str] | None:
    """The way from a model over fallbacks back to itself, shortest first; None without one."""
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for fallback in models[way[-1]].fallbacks if way[-1] in models else ():
            if fallback == name:
                return [*way, name]
            if fallback not in seen:
                seen.add(fallback)
                ways.append([*way, fallback])
    return None
