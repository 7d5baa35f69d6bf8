"""Choices: which model answers, its system prompt and temperature; kept with the thread.

The model is one of Chainlit's modes, picked in the composer and sent with each message. The rest
is in its settings panel. A profile of `parley.toml` gives all three a first value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainlit.emitter import ChainlitEmitter
from chainlit.input_widget import InputWidget, Switch, TextInput
from chainlit.mode import Mode, ModeOption
from chainlit.session import WebsocketSession

from parley.chat.errors import InvalidRequest
from parley.chat.models import Health, HealthState, ModelInfo
from parley.surfaces.models import Models
from parley.surfaces.sentences import phrase_text
from parley.surfaces.starters import Profile
from parley.surfaces.texts import Texts, texts_of

MODEL = "model"
_PROMPT, _TEMPERATURE, _TOOLS = "system_prompt", "temperature", "tools"
_MODEL_CHARS = 300
_PROMPT_CHARS = 32 * 1024
_HOTTEST = 2.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What a thread is answered with; None leaves it to the configuration."""

    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    # Which of Parley's tools a model may use, by name; None leaves that to the configuration too.
    tools: tuple[str, ...] | None = None

    @classmethod
    def of_profile(cls, profile: Profile) -> "Choice":
        """Begin as a profile says."""
        return cls(profile.model, profile.system_prompt, profile.temperature)

    @classmethod
    def of_thread(cls, metadata: Mapping[str, Any]) -> "Choice":
        """Read what was kept with a thread; what does not fit is left out."""
        model = metadata.get(MODEL)
        kept = cls(model if isinstance(model, str) else None, tools=_names(metadata.get(_TOOLS)))
        settings = metadata.get("chat_settings")
        try:
            return kept.with_settings(settings) if isinstance(settings, Mapping) else kept
        except InvalidRequest:
            return kept

    def with_settings(self, settings: object) -> "Choice":
        """Take what the settings panel sends; raises `InvalidRequest`."""
        if not isinstance(settings, Mapping):
            raise InvalidRequest("These are no settings.")
        prompt, temperature = settings.get(_PROMPT), settings.get(_TEMPERATURE)
        if prompt is not None and (not isinstance(prompt, str) or len(prompt) > _PROMPT_CHARS):
            raise InvalidRequest(f"A system prompt has at most {_PROMPT_CHARS} characters.")
        shown = (prompt or "").strip()
        return replace(
            self,
            system_prompt=shown or None,
            temperature=_number(temperature),
            tools=self._tools_after(settings.get(_TOOLS)),
        )

    def with_what_fits(self, settings: object) -> "Choice":
        """Take what the settings panel sends but its temperature; raises `InvalidRequest`."""
        if isinstance(settings, Mapping):
            settings = {**settings, _TEMPERATURE: self.temperature}
        return self.with_settings(settings)

    def _tools_after(self, switch: object) -> tuple[str, ...] | None:
        """Take the switch: off is none at all, on again is what the configuration says."""
        if switch is False:
            return ()
        return None if switch is True and self.tools == () else self.tools

    def with_model(self, model: object) -> "Choice":
        """Take the model that the picker shows, where the page says it; raises `InvalidRequest`."""
        picked = _model_id(model)
        return replace(self, model=picked) if picked else self

    @property
    def settings(self) -> dict[str, Any]:
        """Give what the settings panel shows, and the thread keeps."""
        warmth = "" if self.temperature is None else f"{self.temperature:g}"
        return {
            _PROMPT: self.system_prompt or "",
            _TEMPERATURE: warmth,
            _TOOLS: self.tools != (),
        }

    @property
    def forbidden(self) -> tuple[str, ...] | None:
        """Give what a message says of tools: that there are none; the thread says the rest."""
        return () if self.tools == () else None

    @property
    def kept(self) -> dict[str, Any]:
        """Give what is kept in the thread's metadata."""
        tools = None if self.tools is None else list(self.tools)
        return {MODEL: self.model, "chat_settings": self.settings, _TOOLS: tools}


def _names(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(name for name in value if isinstance(name, str))


def _number(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        number = -1.0
    if not 0 <= number <= _HOTTEST:
        raise InvalidRequest("A temperature is a number from 0 to 2, or nothing.")
    return number


def asked_model(payload: object) -> object:
    """Take the model that a message asks for, as the page says it."""
    message = payload.get("message") if isinstance(payload, Mapping) else None
    modes = message.get("modes") if isinstance(message, Mapping) else None
    return modes.get(MODEL) if isinstance(modes, Mapping) else None


def _model_id(model: object) -> str | None:
    """Take the id of a model; whether there is such a one, the engine says."""
    if model is not None and (not isinstance(model, str) or len(model) > _MODEL_CHARS):
        raise InvalidRequest("A model is named by its id.")
    return model or None


async def offer_choices(session: WebsocketSession, models: Models, choice: Choice) -> None:
    """Put the model picker into the composer, and the settings beside it."""
    texts, emitter = texts_of(session.language), ChainlitEmitter(session)
    infos, health = models.models(), await models.health()
    options = model_options(infos, health, choice.model, texts)
    await emitter.set_modes([Mode(id=MODEL, name=texts.model, options=options)])
    await offer_settings(session, choice)


async def offer_settings(session: WebsocketSession, choice: Choice) -> None:
    """Put what is chosen into the settings panel."""
    widgets = [widget.to_dict() for widget in _widgets(choice, texts_of(session.language))]
    await ChainlitEmitter(session).emit("chat_settings", widgets)


def model_options(
    infos: Sequence[ModelInfo], health: Mapping[str, Health], chosen: str | None, texts: Texts
) -> list[ModeOption]:
    """Say what the picker shows of each model; pure."""
    # The demo is nobody's choice where there is a model.
    first = infos[0]
    known = {info.id for info in infos if info.capabilities.is_model or info is first}
    chosen = chosen if chosen in known else first.id
    return [
        ModeOption(
            id=info.id,
            name=phrase_text(texts, info.label),
            description=_described(info, health.get(info.id), texts),
            icon=_icon(health.get(info.id)),
            default=info.id == chosen,
        )
        for info in infos
    ]


def _described(info: ModelInfo, health: Health | None, texts: Texts) -> str:
    can = info.capabilities
    words = [info.provider if can.is_model else texts.no_model]
    if can.context_window:
        words.append(f"{texts.number(can.context_window)} {texts.tokens}")
    abilities = (
        (can.tools, texts.tools),
        (can.vision, texts.images),
        (can.reasoning, texts.reasoning),
    )
    words += [word for able, word in abilities if able]
    if health and health.state is HealthState.DOWN:
        words.append(texts.down)  # why, is for who runs this server
    return " · ".join(words)


def _icon(health: Health | None) -> str | None:
    if health and health.state is HealthState.DOWN:
        return "triangle-alert"
    return None


def _widgets(choice: Choice, texts: Texts) -> list[InputWidget]:
    shown = choice.settings
    return [
        TextInput(
            id=_PROMPT,
            label=texts.system_prompt,
            initial=shown[_PROMPT],
            placeholder=texts.as_configured,
            multiline=True,
        ),
        TextInput(
            id=_TEMPERATURE,
            label=texts.temperature,
            initial=shown[_TEMPERATURE],
            placeholder=texts.as_configured,
        ),
        Switch(id=_TOOLS, label=texts.may_use_tools, initial=shown[_TOOLS]),
    ]
