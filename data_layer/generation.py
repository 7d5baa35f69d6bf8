"""Generation: what an answer cost, in the field's shape for it (literalai's ChatGeneration)."""

from typing import Any

from literalai import ChatGeneration

from parley.chat.turns import Answer, Turn


def generation_of(turn: Turn, answer: Answer) -> dict[str, Any]:
    """Describe the answer's completion; counts are there only where they are known."""
    usage = answer.usage
    last = answer.attempts[-1] if answer.attempts else None
    input_tokens = usage.input_tokens if usage else None
    output_tokens = usage.output_tokens if usage else None
    total = usage.input_tokens + usage.output_tokens if usage else None
    seconds = answer.duration_ms / 1000 if answer.duration_ms else None
    first_s = (
        answer.time_to_first_chunk_ms / 1000 if answer.time_to_first_chunk_ms is not None else None
    )
    speed = output_tokens / seconds if output_tokens is not None and seconds else None
    generation = ChatGeneration(
        provider=last.provider if last else None,
        model=last.model if last else turn.model,
        error=answer.error_code,
        settings={
            "max_tokens": turn.sampling.max_tokens,
            "temperature": turn.sampling.temperature,
        },
        token_count=total,
        input_token_count=input_tokens,
        output_token_count=output_tokens,
        tt_first_token=first_s,
        token_throughput_in_s=speed,
        duration=seconds,
    )
    described: dict[str, Any] = generation.to_dict()  # type: ignore[no-untyped-call]  # literalai has no types
    return {name: value for name, value in described.items() if value is not None}
