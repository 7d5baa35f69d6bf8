"""Recent: what was read a moment ago, and never a moment longer than that."""

from hypothesis import given
from hypothesis import strategies as st

from parley.auth.recent import Recent


class Clock:
    """Seconds that go by when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Store:
    """Rows that can be changed, and how often they were read."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.reads = 0

    async def read(self) -> str | None:
        self.reads += 1
        return self.value


async def test_a_page_with_twenty_requests_asks_the_rows_once() -> None:
    recent, store = Recent[str](1.0, Clock()), Store("ann")
    assert {await recent.read("a", store.read) for _ in range(20)} == {"ann"}
    assert store.reads == 1


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30))
async def test_asking_often_does_not_keep_it_longer(pauses_s: list[float]) -> None:
    """However busy a client is, what another replica revoked is seen after a second."""
    clock, store = Clock(), Store("signed in")
    recent = Recent[str](1.0, clock)
    await recent.read("a", store.read)
    store.value = None
    for pause_s in pauses_s:
        clock.now_s += pause_s
        expected = "signed in" if clock.now_s < 1.0 else None
        assert await recent.read("a", store.read) == expected


async def test_what_was_read_while_something_was_revoked_is_not_kept() -> None:
    recent, store = Recent[str](1.0, Clock()), Store("signed in")

    async def read_slowly() -> str | None:
        value = await store.read()
        store.value = None
        recent.clear()  # meanwhile somebody signs out
        return value

    assert await recent.read("a", read_slowly) == "signed in"
    assert await recent.read("a", store.read) is None


async def test_nobody_is_not_kept() -> None:
    """Who is signed in a moment later is so at once."""
    recent, store = Recent[str](1.0, Clock()), Store(None)
    assert await recent.read("a", store.read) is None
    store.value = "ann"
    assert await recent.read("a", store.read) == "ann"


def test_it_is_bounded() -> None:
    recent = Recent[int](1.0, Clock())
    for number in range(10_001):
        recent.put(str(number), number)
    assert recent.get("0") is None
    assert recent.get("1") == 1
    assert recent.get("10000") == 10_000
