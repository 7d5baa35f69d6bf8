"""Allowances, settings: how much users, guests and all together may use."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from parley.auth.limits import Allowance, LimitConfig

_Count = Annotated[int, Field(ge=1)]


class AllowanceEnvironment(BaseSettings):
    """The part of the environment that says how much may be used."""

    limit_requests_per_minute: _Count = Field(
        1200, description="Requests in a minute, per user; files of the page apart."
    )
    limit_guest_requests_per_minute: _Count = Field(
        600, description="The same per guest, and per address of guests but this machine's own."
    )
    limit_all_requests_per_minute: _Count | None = Field(None, description="The same for all.")
    limit_turns_per_minute: _Count = Field(60, description="Messages in a minute, per user.")
    limit_guest_turns_per_minute: _Count = Field(
        30, description="The same per guest, and per address of guests."
    )
    limit_all_turns_per_minute: _Count | None = Field(None, description="The same for all.")
    limit_guest_running_turns: _Count = Field(
        5, description="Answers being written or waiting, per guest, and per address of guests."
    )
    limit_all_running_turns: _Count | None = Field(
        None, description="The same for all: what the model server can take."
    )
    limit_tokens_per_day: _Count | None = Field(
        None, description="Tokens of questions and answers in a day (UTC), per user."
    )
    limit_guest_tokens_per_day: _Count | None = Field(
        None, description="The same per guest, and per address of guests."
    )
    limit_all_tokens_per_day: _Count | None = Field(
        None, description="The same for all: what it may cost."
    )


def limit_config(env: AllowanceEnvironment, expected_tokens: int) -> LimitConfig:
    """Make the allowances; a turn is expected to need so many tokens beside its message."""
    return LimitConfig(
        user=Allowance(
            env.limit_requests_per_minute,
            env.limit_turns_per_minute,
            None,  # the engine's: LIMIT_RUNNING_TURNS
            env.limit_tokens_per_day,
        ),
        guest=Allowance(
            env.limit_guest_requests_per_minute,
            env.limit_guest_turns_per_minute,
            env.limit_guest_running_turns,
            env.limit_guest_tokens_per_day,
        ),
        everyone=Allowance(
            env.limit_all_requests_per_minute,
            env.limit_all_turns_per_minute,
            env.limit_all_running_turns,
            env.limit_all_tokens_per_day,
        ),
        expected_tokens=expected_tokens,
    )
