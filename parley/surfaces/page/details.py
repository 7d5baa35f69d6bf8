"""Details: what an answer was made by and what it cost, as Markdown for the panel beside it."""

from parley.chat.turns import AttemptRecord, Turn
from parley.surfaces.sentences import phrase_text
from parley.surfaces.texts import Texts


def details_markdown(turn: Turn, texts: Texts) -> str:
    """Describe a turn: what is not known is left out, never guessed."""
    lines = [f"- {name}: **{value}**" for name, value in _facts(turn, texts)]
    if len(turn.answer.attempts) > 1:
        lines += ["", f"{texts.attempts}:", ""]
        lines += [f"{n}. {_attempt(a, texts)}" for n, a in enumerate(turn.answer.attempts, 1)]
    return "\n".join(lines) + "\n"


def _facts(turn: Turn, texts: Texts) -> list[tuple[str, str]]:
    answer, usage = turn.answer, turn.answer.usage
    last = answer.attempts[-1] if answer.attempts else None
    by = f"{last.model} ({last.provider})" if last else turn.model
    facts = [(texts.answered_by, by)]
    if usage:
        counts = f"{texts.number(usage.input_tokens)} / {texts.number(usage.output_tokens)}"
        counts += f" ({texts.estimated})" if usage.estimated else ""
        facts.append((texts.tokens_in_out, counts))
    if answer.time_to_first_chunk_ms is not None:
        facts.append((texts.first_text, _seconds(answer.time_to_first_chunk_ms, texts)))
    if answer.duration_ms is not None:
        facts.append((texts.duration, _seconds(answer.duration_ms, texts)))
    if speed := _speed(turn):
        facts.append((texts.speed, f"{texts.number(speed, 1)} {texts.per_second}"))
    return facts


def _speed(turn: Turn) -> float | None:
    """Tokens a second, from the first text on: the wait before it is told apart."""
    answer = turn.answer
    if not answer.usage or not answer.duration_ms or answer.time_to_first_chunk_ms is None:
        return None
    writing_ms = answer.duration_ms - answer.time_to_first_chunk_ms
    return answer.usage.output_tokens * 1000 / writing_ms if writing_ms > 0 else None


def _attempt(attempt: AttemptRecord, texts: Texts) -> str:
    who = f"{attempt.model} ({attempt.provider})"
    reason = f" — {phrase_text(texts, attempt.reason)}" if attempt.reason else ""
    outcome = phrase_text(texts, attempt.outcome)
    return f"{who}: {outcome}, {_seconds(attempt.duration_ms, texts)}{reason}"


def _seconds(milliseconds: int, texts: Texts) -> str:
    return f"{texts.number(milliseconds / 1000, 2)} {texts.seconds}"
