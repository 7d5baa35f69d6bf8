"""Checks: one question each, asked with few tokens."""

from parley.conformance.reading import Reading, read, said, shape
from parley.conformance.report import Finding, Verdict
from parley.conformance.subject import Check, Subject
from parley.conformance.wire import Response

_ASK = "Count from one to twenty in words."
_LONG = "Write a long story about a ship."
_SYSTEM = "You are a sailor and you answer every question in the words of the sea."
# One lump is what arrives within this time, whatever the number of events.
_LUMP_S = 0.002
_MAX_WINDOW = 16_384
_KNOWN_FINISHES = {"stop", "length", "tool_calls", "content_filter", "eos_token", "stop_sequence"}


async def check_stream(subject: Subject) -> list[Finding]:
    """Stream an answer: the basics, the usage, the end, and how fast it came."""
    answer = subject.plain = await subject.ask(_ASK, max_tokens=48, temperature=0.01)
    if not answer.response.events or not (answer.pieces or answer.finish):
        kind = "a document" if answer.pieces else answer.trouble
        return [Finding("streaming", "no", kind), Finding("finish reason", "no", "no stream")]
    _measure(subject, answer)
    return [_increments(answer), _finish(answer), _usage(answer), _end(answer)]


def _measure(subject: Subject, answer: Reading) -> None:
    if not answer.pieces:
        return
    first_s, last_s = answer.pieces[0][0], answer.pieces[-1][0]
    subject.figures["time to first chunk ms"] = round(first_s * 1000, 1)
    if last_s - first_s >= _LUMP_S:
        rate = (len(answer.pieces) - 1) / (last_s - first_s)
        subject.figures["chunks a second"] = float(f"{rate:.3g}")


def _increments(answer: Reading) -> Finding:
    count = len(answer.pieces)
    times = [at_s for at_s, _ in answer.pieces]
    broken = "" if answer.ok else f"; then {answer.trouble}"
    if not answer.ok and (answer.odd or not answer.finish):
        return Finding("streaming", "no", f"{count} chunks{broken}")
    if count < 2:
        return Finding("streaming", "partly", f"{count} chunk: one lump{broken}")
    if times[-1] - times[0] < _LUMP_S:
        return Finding("streaming", "partly", f"{count} chunks, all at once{broken}")
    return Finding("streaming", "yes", f"{count} chunks{broken}")


def _finish(answer: Reading) -> Finding:
    if answer.finish in _KNOWN_FINISHES:
        return Finding("finish reason", "yes", answer.finish)
    if answer.finish:
        return Finding("finish reason", "partly", f"{answer.finish}, a word of its own")
    verdict: Verdict = "partly" if answer.done else "no"
    return Finding("finish reason", verdict, "none" + (", but [DONE]" if answer.done else ""))


def _usage(answer: Reading) -> Finding:
    if answer.output_tokens is None:
        return Finding("usage", "no", "none, though it was asked for")
    where = ", beside the finish reason" if answer.usage_beside_finish else ""
    return Finding("usage", "yes", f"{answer.input_tokens} in, {answer.output_tokens} out{where}")


def _end(answer: Reading) -> Finding:
    ended = bool(answer.finish or answer.done)
    if answer.response.end == "timeout":
        kind = "the connection stays open after the finish" if ended else "none came in time"
        return Finding("end of stream", "no", kind)
    kind = "[DONE]" if answer.done else "the end of the body, no [DONE]"
    # Without a finish reason it is that of a connection that broke, too.
    whole = ended and answer.response.end == "whole" and answer.error is None
    return Finding("end of stream", "yes" if whole else "no", kind)


async def check_document(subject: Subject) -> list[Finding]:
    """Ask without streaming."""
    answer = await subject.ask(_ASK, max_tokens=8, stream=False)
    ok = answer.ok and not answer.response.events and bool(answer.finish or answer.text)
    return [Finding("without streaming", "yes" if ok else "no", "" if ok else answer.trouble)]


async def check_max_tokens(subject: Subject) -> list[Finding]:
    """Ask for no more than four tokens of the first answer: another may be that short by itself."""
    answer = await subject.ask(_ASK, max_tokens=4, temperature=0.01)
    if not answer.ok:
        return [Finding("max_tokens", "no", answer.trouble)]
    count = answer.output_tokens if answer.output_tokens is not None else len(answer.pieces)
    verdict: Verdict = "yes" if count <= 4 and answer.finish == "length" else "partly"
    verdict = "no" if count > 4 else verdict
    return [Finding("max_tokens", verdict, f"{count} of 4 tokens, finish {answer.finish}")]


async def check_stop(subject: Subject) -> list[Finding]:
    """Stop at a word that the first answer had."""
    words = subject.plain.text.split() if subject.plain else []
    if len(words) < 3:
        return [Finding("stop sequences", "unknown", "the first answer has no word to stop at")]
    stop = words[len(words) // 2]
    answer = await subject.ask(_ASK, max_tokens=48, temperature=0.01, stop=[stop])
    if not answer.ok:
        return [Finding("stop sequences", "no", answer.trouble)]
    if stop not in answer.text:
        shorter = subject.plain is not None and len(answer.text) < len(subject.plain.text)
        how = "ended before it" if shorter else "the word did not come up"
        return [Finding("stop sequences", "yes" if shorter else "unknown", how)]
    kept = answer.text.rstrip().endswith(stop)
    detail = "ended at it, and kept it" if kept else "went on beyond it"
    return [Finding("stop sequences", "partly" if kept else "no", detail)]


async def check_seed(subject: Subject) -> list[Finding]:
    """Ask twice with one seed, at a temperature at which answers differ."""
    first, second = [
        await subject.ask(_ASK, max_tokens=16, temperature=1.0, seed=7) for _ in range(2)
    ]
    if not (first.ok and second.ok):
        return [Finding("seed", "no", (first if not first.ok else second).trouble)]
    same = first.text == second.text
    return [Finding("seed", "yes" if same else "no", "the same twice" if same else "two answers")]


async def check_temperature_zero(subject: Subject) -> list[Finding]:
    """Ask at temperature 0, which some servers refuse."""
    answer = await subject.ask(_ASK, max_tokens=2, temperature=0)
    return [
        Finding("temperature 0", "yes" if answer.ok else "no", "" if answer.ok else answer.trouble)
    ]


async def check_system(subject: Subject) -> list[Finding]:
    """Send a system prompt; that it was read shows in the count of tokens."""
    answer = await subject.ask(_ASK, max_tokens=2, system=_SYSTEM)
    if not answer.ok:
        return [Finding("system prompt", "no", answer.trouble)]
    before = subject.plain.input_tokens if subject.plain else None
    if before is None or answer.input_tokens is None:
        return [Finding("system prompt", "unknown", "accepted; no usage to see it by")]
    more = answer.input_tokens - before
    return [Finding("system prompt", "yes" if more > 0 else "no", f"{more} tokens more")]


async def check_cancel(subject: Subject) -> list[Finding]:
    """Leave a long answer; a server that goes on with it is slow with the next one."""
    before = await subject.ask(_ASK, max_tokens=1)
    path, body = subject.questions.ask(_LONG, max_tokens=256)
    left = await subject.wire.post(path, body, leave_after=2)
    if not before.ok or left.end != "left":
        return [Finding("cancel", "unknown", "the answer was too short to leave")]
    after = await subject.ask(_ASK, max_tokens=1)
    took = f"the next one took {after.response.took_s * 1000:.0f} ms"
    took += f", {before.response.took_s * 1000:.0f} ms before"
    quick = after.ok and after.response.took_s < 3 * before.response.took_s + 0.25
    return [Finding("cancel", "yes" if quick else "no", took)]


async def check_errors(subject: Subject) -> list[Finding]:
    """Ask what must be refused: how it is said matters to clients."""
    model = subject.questions.ask(_ASK, max_tokens=1, model="no-such-model")
    negative = subject.questions.ask(_ASK, max_tokens=-5)
    key = subject.questions.ask(_ASK, max_tokens=1)
    findings = []
    if subject.questions.dialect == "openai":  # TGI's own requests name no model
        findings.append(_refused("unknown model", await subject.wire.post(*model), (400, 404)))
    return [
        *findings,
        _refused("wrong key", await subject.wire.post(*key, api_key="wrong-key"), (401, 403)),
        _refused("negative max_tokens", await subject.wire.post(*negative), (400, 422)),
        await _too_long(subject),
    ]


async def _too_long(subject: Subject) -> Finding:
    if subject.window is None:
        return Finding("too long a context", "unknown", "the server does not tell its window")
    if subject.window > _MAX_WINDOW:
        return Finding("too long a context", "unknown", f"not tried: {subject.window} tokens")
    path, body = subject.questions.ask("word " * (subject.window + 100), max_tokens=1)
    return _refused("too long a context", await subject.wire.post(path, body), (400, 413, 422))


def _refused(name: str, response: Response, statuses: tuple[int, ...]) -> Finding:
    """Say how a request was refused; inside a stream it is only half a refusal."""
    answer = read(response)
    if response.status == 200:
        if answer.error:
            return Finding(name, "partly", f"refused inside the stream: {answer.error}")
        return Finding(name, "no", "accepted" if answer.ok else answer.trouble)
    verdict: Verdict = "yes" if response.status in statuses else "partly"
    verdict = verdict if response.status else "unknown"
    return Finding(name, verdict, f"{response.status}, {shape(response)}: {said(response)}")


NATIVE: tuple[Check, ...] = (
    check_document,
    check_max_tokens,
    check_stop,
    check_seed,
    check_temperature_zero,
    check_cancel,
    check_errors,
)
