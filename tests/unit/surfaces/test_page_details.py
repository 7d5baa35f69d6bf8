"""Details of an answer: what is known, and nothing that is not."""

from dataclasses import replace
from datetime import UTC, datetime

from parley.chat.models import Sampling
from parley.chat.turns import Answer, AttemptRecord, Turn, TurnState
from parley.chat.usage import Usage
from parley.surfaces.page.details import details_markdown
from parley.surfaces.texts import texts_of

_ID = "8e8c9b5e-7d52-4a37-9d3e-0d6d7f0f2f11"
TURN = Turn(
    id=_ID,
    thread_id=_ID,
    owner_id=_ID,
    parent_id=None,
    key="k",
    state=TurnState.COMPLETED,
    text="hi",
    model="fast",
    sampling=Sampling(),
    system_prompt=None,
    user_step_id=_ID,
    answer_step_id=_ID,
    fence=1,
    stop_requested=False,
    created_at=datetime.now(UTC),
    answer=Answer(),
)


def test_speed_is_that_of_the_writing() -> None:
    answer = Answer(
        usage=Usage(10, 100, estimated=True),
        attempts=(
            AttemptRecord("openai", "big", "first", "failed", 0, 1200),
            AttemptRecord("tgi", "small", "failover", "completed", 100, 2500),
        ),
        time_to_first_chunk_ms=500,
        duration_ms=2500,
    )
    said = details_markdown(replace(TURN, answer=answer), texts_of("en"))
    assert said == (
        "- Answered by: **small (tgi)**\n"
        "- Tokens in / out: **10 / 100 (estimated)**\n"
        "- First text after: **0.50 s**\n"
        "- Duration: **2.50 s**\n"
        "- Speed: **50.0 tokens/s**\n"
        "\n"
        "Attempts:\n"
        "\n"
        "1. big (openai): failed, 1.20 s — first\n"
        "2. small (tgi): completed, 2.50 s — failover\n"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert details_markdown(TURN, texts_of("en")) == "- Answered by: **fast**\n"


def test_numbers_and_attempts_are_those_of_the_language() -> None:
    answer = Answer(
        usage=Usage(12_345, 100),
        attempts=(
            AttemptRecord("openai", "big", "", "TimedOut", 0, 1200),
            AttemptRecord("tgi", "small", "failover after TimedOut", "completed", 100, 2500),
        ),
    )
    said = details_markdown(replace(TURN, answer=answer), texts_of("de"))
    assert "12.345 / 100" in said
    assert "1. big (openai): Zeit abgelaufen, 1,20 s\n" in said
    assert "2. small (tgi): fertig, 2,50 s — ein anderes Modell, nach Zeit abgelaufen" in said
    in_english = details_markdown(replace(TURN, answer=answer), texts_of("en"))
    assert "big (openai): time ran out, 1.20 s\n" in in_english
