"""Chaos, for a while: nothing that was said is lost, and nothing is said twice."""

import os
from pathlib import Path
from random import SystemRandom

import pytest

from tests.e2e.chaos import chaos

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_redis]

SECONDS = 60 if os.environ.get("CI") == "true" else 15


async def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    result = await chaos(SECONDS, SystemRandom().randrange(10**6), tmp_path)
    assert not result.lost + result.doubled, result.table()
    assert result.turns
    assert result.faults
