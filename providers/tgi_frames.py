"""TGI's frames: the native wire of `/generate_stream`, by `text-generation`'s types and errors.

Its types are read with, its client is not: that one cuts at ten seconds, opens a connection for
each call and takes a stream without an end for a whole one. There is no ``[DONE]`` on this wire.
An answer is complete with the event that has `generated_text`; special tokens are no text.
"""

from collections.abc import Iterator

import msgspec
import pydantic

from parley.chat.deltas import Finish, FinishReason, Text
from parley.chat.errors import (
    BrokenStream,
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
)
from parley.chat.models import Sampling
from parley.chat.usage import Usage
from providers.complaints import Complaint, by_text
from providers.config import Connection
from providers.faults import event_fault, fault, frame_fault
from providers.frames import Frame

try:
    from text_generation.errors import (  # type: ignore[import-untyped] # it ships no types
        GenerationError,
        IncompleteGenerationError,
        OverloadedError,
        ValidationError,
        parse_error,
    )
    from text_generation.types import (  # type: ignore[import-untyped] # it ships no types
        Parameters,
        Request,
        StreamResponse,
    )
except ImportError as exc:
    raise ImportError(
        "TGI's native wire needs the packages of the extra `tgi`: pip install text-generation requests"
    ) from exc

_FINISH_REASONS = {
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
}
_ERRORS: dict[type[Exception], type[ProviderError]] = {
    GenerationError: ProviderFault,
    IncompleteGenerationError: ProviderFault,
    OverloadedError: Overloaded,
    ValidationError: RequestRefused,
}


class _Details(msgspec.Struct):
    finish_reason: str | None = None
    generated_tokens: int | None = None
    input_length: int | None = None


class _End(msgspec.Struct):
    """What ends an answer; text-generation's `StreamDetails` has no `input_length`."""

    generated_text: str | None = None
    details: _Details | None = None


def render(
    prompt: str, sampling: Sampling, max_new_tokens: int, connection: Connection
) -> dict[str, object]:
    """Write a request; raises `RequestRefused` for what TGI would refuse.

    TGI has no temperature 0, which is to leave it out, and no top_p 1, which is none.
    """
    temperature, top_p = sampling.temperature or None, sampling.top_p
    try:
        parameters = Parameters(
            # Left out, text-generation's own default would end every answer after 20 tokens.
            max_new_tokens=max_new_tokens,
            do_sample=temperature is not None,
            temperature=temperature,
            top_p=None if top_p is None or top_p >= 1 else top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            details=True,
        )
        request = Request(inputs=prompt, parameters=parameters, stream=True)
    except (ValidationError, pydantic.ValidationError) as exc:
        said = str(exc) if isinstance(exc, ValidationError) else "a parameter has a wrong type"
        raise fault(
            RequestRefused, connection, said, quotes=True, advice="Change that parameter."
        ) from exc
    document: dict[str, object] = request.model_dump(exclude_none=True)
    return document


class TokenReader:
    """Turns frames into text and keeps what comes last: the usage and the finish reason.

    `streamed` is set by the first text, `finish` by the event that ends the answer.
    """

    def __init__(self, connection: Connection) -> None:
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.streamed = False
        self._connection = connection

    def read(self, frames: list[Frame], *, cut: bool = False) -> Iterator[Text]:
        """Give the text of these frames; raises `ProviderError` for one that is an error.

        `cut` says that the stream ended within the last of them.
        """
        for frame in frames:
            if self.finish is not None:
                return
            if _says_nothing(frame):
                continue
            event = self._event(frame, cut=cut)
            token = event.token
            if token.text and not token.special:
                self.streamed = True
                yield Text(token.text)
            if event.generated_text is not None:
                self._end(msgspec.json.decode(frame.data, type=_End))

    def read_whole(self, frames: list[Frame]) -> Iterator[Text]:
        """Give the text of an answer that came as one document, from behind a proxy perhaps."""
        for frame in frames:
            payload = frame.payload
            if error := native_fault(self._connection, payload):
                raise error
            payload = payload[0] if isinstance(payload, list) and payload else payload
            try:
                end = msgspec.convert(payload, _End)
            except msgspec.ValidationError:
                end = _End()
            if end.generated_text is None:
                raise fault(ProtocolViolation, self._connection, "a document that is no generation")
            self._end(end)
            if end.generated_text:
                self.streamed = True
                yield Text(end.generated_text)

    def _event(self, frame: Frame, *, cut: bool) -> StreamResponse:
        if frame.event != "error":
            try:
                return StreamResponse.model_validate_json(frame.data)
            except pydantic.ValidationError as exc:
                raise self._unreadable(frame, cut=cut) from exc
        raise self._unreadable(frame, cut=False)

    def _unreadable(self, frame: Frame, *, cut: bool) -> ProviderError:
        """Say what a frame is that is no token: an error, cut off, or wrong."""
        payload = frame.payload
        if error := native_fault(self._connection, payload):
            return error
        if error := frame_fault(self._connection, frame, certain=frame.event == "error"):
            return error
        if cut:
            return fault(BrokenStream, self._connection)
        return fault(ProtocolViolation, self._connection, "an event that is not a token")

    def _end(self, end: _End) -> None:
        details = end.details or _Details()
        raw = details.finish_reason
        self.finish = Finish(_FINISH_REASONS.get(raw or "", FinishReason.UNKNOWN), raw)
        if details.input_length is not None and details.generated_tokens is not None:
            self.usage = Usage(details.input_length, details.generated_tokens)


def native_fault(connection: Connection, payload: object) -> ProviderError | None:
    """Make the error that a native event carries; None if it carries none."""
    match payload:
        case {"error": str(said), "error_type": str(kind)}:
            error = _ERRORS.get(type(parse_error(200, {"error": said, "error_type": kind})))
            if error is RequestRefused:  # an overflow of the context is a validation error too
                error = by_text(Complaint(said, kind))
            if error is not None:
                return fault(error, connection, said, quotes=True)
    return event_fault(connection, payload)


def _says_nothing(frame: Frame) -> bool:
    return frame.event != "error" and (not frame.data.strip() or frame.data[:6] == b"[DONE]")
