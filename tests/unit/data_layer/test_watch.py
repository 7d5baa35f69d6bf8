"""Who is dead is seen by looking: whatever the clocks say, and whatever was away meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from data_layer.heartbeats import DEAD_S, Watch

LOOK_S = 0.5


def looked(watch: Watch, beats: list[dict[str, int]], at: float = 0.0) -> list[set[str]]:
    return [watch.dead(seen, at + number * LOOK_S) for number, seen in enumerate(beats)]


def test_a_count_that_stands_still_is_one_of_a_dead() -> None:
    *before, last = looked(Watch(), [{"a": 1, "b": n} for n in range(5)])
    assert before == [set()] * 4
    assert last == {"a"}


def test_a_count_that_moves_once_lives_for_as_long_again() -> None:
    beats = [{"a": 1}] * 4 + [{"a": 2}] * 5
    assert looked(Watch(), beats) == [set()] * 8 + [{"a"}]


def test_a_database_that_was_away_has_no_dead() -> None:
    watch = Watch()
    looked(watch, [{"a": 1}] * 4)
    assert looked(watch, [{"a": 1}] * 4, at=60.0) == [set()] * 4
    watch.lost_sight()
    assert looked(watch, [{"a": 1}] * 4, at=62.0) == [set()] * 4


def test_a_count_that_goes_back_is_a_sign_of_life() -> None:
    assert looked(Watch(), [{"a": 9}] * 4 + [{"a": 1}] * 4) == [set()] * 8


def test_how_long_one_is_dead_is_said_by_the_clock_of_who_saw_it_live() -> None:
    watch = Watch()
    looked(watch, [{"a": 1, "b": 7}, {"a": 2, "b": 7}, {"a": 2, "b": 7}])
    assert watch.still_for_s("a", 10.0) == 10.0 - LOOK_S
    assert watch.still_for_s("b", 10.0) is None, "it may have been dead before"
    looked(watch, [{"b": 7}], at=11.0)
    assert watch.still_for_s("a", 12.0) is None


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans()), min_size=1, max_size=60))
def test_nobody_who_beats_is_dead(looks: list[tuple[float, bool]]) -> None:
    """However the looks come: a replica that beats twice a second is never taken for dead."""
    watch, now, beats_at = Watch(), 0.0, 0.0
    beat = 0
    for pause, fails in looks:
        now += pause
        while beats_at + LOOK_S <= now:
            beats_at += LOOK_S
            beat += 1
        if fails:
            watch.lost_sight()
        else:
            assert watch.dead({"a": beat}, now) == set()


@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=60))
def test_the_dead_are_seen_in_time(pauses: list[float]) -> None:
    watch, now, dead_at = Watch(), 0.0, None
    for pause in pauses:
        now += pause
        if watch.dead({"a": 1}, now):
            dead_at = dead_at or now
    if now >= DEAD_S + 2.0:
        assert dead_at is not None
        assert dead_at <= DEAD_S + 2.0
