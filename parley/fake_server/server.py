"""The server: routes of four dialects, answered from a script or with a sensible default."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from typing_extensions import override

from parley.fake_server import gemini, openai, tgi
from parley.fake_server.answer import Answer, Complaint, Dialect, Piece, Spoken
from parley.fake_server.asked import Asked, read_asked
from parley.fake_server.exchange import FakeServer, Reply, Request, Step, body, json_reply
from parley.fake_server.playlist import Playlist
from parley.fake_server.script import Script, Scripted, Usage, Wire, words
from parley.fake_server.wiring import before_the_status, document_steps, framed, stream_steps

Told = Callable[[str], None]

_GEMINI = re.compile(
    r"/models/(?P<model>[^/:]+):(?P<method>streamGenerateContent|generateContent)$"
)
_TGI = (tgi.TGI_CHAT, tgi.TGI_NATIVE, tgi.TGI_COMPATIBLE)
_SAID = {
    401: "Incorrect API key provided: fake. Look at the script's api_key.",
    404: "The model does not exist",
    429: "Rate limit reached, try again later",
    503: "The model is overloaded",
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A request for an answer: who writes it, and streamed or not."""

    dialect: Dialect
    asked: Asked
    streamed: bool


class ScriptedServer(FakeServer):
    """Answers as the script says, and tells each request in one line, when it is over."""

    def __init__(self, script: Script, tell: Told = lambda _line: None) -> None:
        super().__init__()
        self.script = script
        self.requests: list[Request] = []
        self._playlist = Playlist(script)
        self._tell = tell
        self._count = 0
        self._notes: dict[int, tuple[str, float]] = {}

    @override
    def reply_to(self, request: Request) -> Reply:
        """Choose the answer; a request that makes no sense is refused as the real ones do."""
        note, reply = self._chosen(request)
        if reply.framing == "chunked" and all(isinstance(step, bytes) for step in reply.steps):
            streamed = reply.headers.get("Content-Type", "").startswith("text/event-stream")
            reply = reply if streamed else replace(reply, framing="length")
        self._notes[id(reply)] = (note, time.monotonic())
        return reply

    @override
    def over(self, request: Request, reply: Reply, *, complete: bool) -> None:
        """Tell the request in one line: never its text, nor its key."""
        note, began = self._notes.pop(id(reply))
        took_ms = (time.monotonic() - began) * 1000
        end = "" if complete else ", not to its end"
        path = request.path.partition("?")[0]
        self._tell(f"{request.method} {path} {reply.status} {note}, {took_ms:.0f} ms{end}")

    def _chosen(self, request: Request) -> tuple[str, Reply]:
        path, _, query = request.path.partition("?")
        if request.method == "GET":
            return "document", self._document(path, request)
        call = self._call(path, query, request)
        if isinstance(call, Reply):
            return "document", call
        if call is None:
            return "no such route", json_reply({"detail": "Not Found"}, 404)
        self.requests.append(request)
        refused = self._refused(call, request)
        if refused is not None:
            return f"{call.dialect.name}, refused", _refused_call(call, refused)
        number, scripted = self._playlist.next(call.asked)
        self._count += 1
        name = f" ({scripted.name})" if scripted.name else ""
        note = f"{call.dialect.name}, {f'reply {number}' if number else 'default reply'}{name}"
        return note, self._reply(call, scripted)

    def _document(self, path: str, request: Request) -> Reply:
        model, window = self.script.model, self.script.context_window
        if path == "/health":
            return body(b"", "text/plain")
        if path == "/info":
            return json_reply(tgi.info(model, window))
        dialect = gemini.GEMINI if "/v1beta/" in path and "/openai/" not in path else openai.OPENAI
        if path.endswith("/models"):
            if not self._knows_key(request):
                return _refusal(dialect, Complaint(401, _SAID[401], None))
            if dialect is gemini.GEMINI:
                return json_reply({"models": [gemini.model(model, window)]})
            return json_reply(openai.models([model], window))
        return json_reply({"detail": "Not Found"}, 404)

    def _call(self, path: str, query: str, request: Request) -> _Call | Reply | None:
        """Say what is asked for; None for a path that no dialect has, a reply for what is simple."""
        found = _GEMINI.search(path)
        dialect = gemini.GEMINI if found else self._dialect(path)
        if dialect is None and path != "/tokenize":
            return None
        try:
            asked = read_asked(request.json, found["model"] if found else None)
        except (ValueError, TypeError):
            refused = Complaint(400, "The body is not the JSON object that was expected")
            return _refusal(dialect or tgi.TGI_NATIVE, refused)
        if dialect is None:
            return json_reply(tgi.tokens(words(asked.message)))
        if found:
            streamed = found["method"] == "streamGenerateContent"
            return _Call(dialect, asked, streamed and "alt=sse" in query)
        return _Call(dialect, asked, path.endswith("/generate_stream") or asked.stream)

    def _dialect(self, path: str) -> Dialect | None:
        if path.endswith("/chat/completions"):
            return tgi.TGI_CHAT if self.script.dialect == "tgi" else openai.OPENAI
        if path == "/":
            return tgi.TGI_COMPATIBLE
        return tgi.TGI_NATIVE if path in {"/generate", "/generate_stream"} else None

    def _refused(self, call: _Call, request: Request) -> Complaint | None:
        """Refuse what a real server would: a wrong key, an unknown model, too long a context."""
        script, asked = self.script, call.asked
        if not self._knows_key(request):
            return Complaint(
                401, _SAID[401], "invalid_api_key" if call.dialect is openai.OPENAI else None
            )
        # Whatever TGI runs, it calls that by this name.
        known = {None, script.model, *(["tgi"] if call.dialect in _TGI else [])}
        if script.known_models_only and asked.model not in known:
            message = f"The model `{asked.model}` does not exist"
            return Complaint(
                404, message, "model_not_found" if call.dialect is openai.OPENAI else None
            )
        if asked.max_tokens is not None and asked.max_tokens < 1:
            return Complaint(
                400, f"Invalid max_tokens: {asked.max_tokens}. At least 1 is expected."
            )
        if asked.input_tokens > script.context_window:
            code = "context_length_exceeded" if call.dialect is openai.OPENAI else None
            return Complaint(400, _too_long(call.dialect, asked, script.context_window), code)
        return None

    def _knows_key(self, request: Request) -> bool:
        wanted = self.script.api_key
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return wanted is None or wanted in {given, request.headers.get("x-goog-api-key", "")}

    def _reply(self, call: _Call, scripted: Scripted) -> Reply:
        early = before_the_status(scripted)
        if early is not None:
            return Reply((early,), framing="none")
        if scripted.body is not None:
            kind = scripted.content_type or "text/event-stream"
            return body(scripted.body.encode(), kind, scripted.status, scripted.headers)
        if scripted.status != 200:
            said = scripted.error or _SAID.get(scripted.status, "It did not work")
            complaint = Complaint(scripted.status, said, scripted.code)
            return _refusal(call.dialect, complaint, scripted.headers)
        answer = _answer(self._count, self.script, scripted, call.asked)
        steps: list[bytes | Step]
        if call.streamed and scripted.stream:
            steps = stream_steps(scripted, call.dialect, answer)
            headers = dict(call.dialect.headers)
        else:
            steps = document_steps(scripted, call.dialect, answer)
            headers = {"Content-Type": "application/json"}
        if scripted.content_type:
            headers["Content-Type"] = scripted.content_type
        return Reply(tuple(steps), 200, headers | scripted.headers, scripted.wire.framing)


def _too_long(dialect: Dialect, asked: Asked, window: int) -> str:
    tokens = asked.input_tokens
    if dialect in _TGI:
        given = f"Given: {tokens} `inputs` tokens and {asked.max_tokens or 0} `max_new_tokens`"
        return f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {window}. {given}"
    return (
        f"This model's maximum context length is {window} tokens. However, your messages"
        f" resulted in {tokens} tokens. Please reduce the length of the messages."
    )


def _refused_call(call: _Call, complaint: Complaint) -> Reply:
    """Refuse a call: TGI has begun its stream by then, unless it is the key that is wrong."""
    dialect = call.dialect
    if complaint.status == 401 or dialect not in _TGI:
        return _refusal(dialect, complaint)
    if not call.streamed:
        return _refusal(dialect, replace(complaint, status=422))
    events = dialect.failure(replace(complaint, status=422))
    return Reply(tuple(framed(data, Wire(), b"\n") for data in events), 200, dialect.headers)


def _refusal(
    dialect: Dialect, complaint: Complaint, headers: Mapping[str, str] | None = None
) -> Reply:
    document = dialect.complaint(complaint)
    kind = "application/json" if document else "text/plain"
    return body(document, kind, complaint.status, headers)


def _answer(number: int, script: Script, scripted: Scripted, asked: Asked) -> Answer:
    """Make the answer, within what the request allows: so many tokens, up to a stop sequence."""
    thoughts = (Spoken(text, thought=True) for text in words(scripted.reasoning))
    said = [piece.replace("{message}", asked.message) for piece in scripted.pieces]
    texts, finish = asked.bounded(said)
    pieces: tuple[Piece, ...] = (*thoughts, *map(Spoken, texts), *scripted.tool_calls)
    default = "tool_calls" if scripted.tool_calls else "stop"
    told = (
        scripted.usage
        if isinstance(scripted.usage, Usage)
        else Usage(input=asked.input_tokens, output=len(pieces))
    )
    return Answer(
        number,
        int(time.time()),
        asked.model or script.model,
        pieces,
        finish or (default if scripted.finish is None else scripted.finish),
        told.input,
        told.output,
        scripted.usage is not False,
        asked.body,
    )
