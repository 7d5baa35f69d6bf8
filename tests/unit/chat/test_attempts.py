"""Attempts: a turn goes on to other models, and all that is kept and shown agrees on the last."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from parley.chat.attempts import AttemptLimits
from parley.chat.deltas import Delta, Finish, FinishReason, Reasoning, Text
from parley.chat.engine import open_engine
from parley.chat.errors import (
    BrokenStream,
    ContentFiltered,
    ContextOverflow,
    CredentialsRefused,
    InternalError,
    ModelMissing,
    Overloaded,
    ParleyError,
    ProtocolViolation,
    ProviderError,
    ProviderFault,
    RequestRefused,
    TimedOut,
    UnknownModel,
    Unreachable,
)
from parley.chat.events import Attempt, Event, TextEvent
from parley.chat.fold import fold
from parley.chat.models import Capabilities, CompletionRequest, ModelInfo
from parley.chat.ports import Catalogue, Live, Route
from parley.chat.runs import EngineConfig
from parley.chat.turns import AttemptRecord, Turn, TurnState
from parley.chat.usage import Usage
from parley.context.builder import ContextConfig, WindowedContext
from parley.context.memory_store import MemoryContextStore
from tests.fakes.scripted_provider import Call, ScriptedProvider
from tests.patience import PATIENCE_S
from tests.unit.chat.support import ANNA, CONFIG, Announced, Bench, TroubledStore, WatchedLog

Said = Delta | Exception
# What a provider says in one call: pieces, and how it ends.
Script = Sequence[Said]
DOWN: Script = (Unreachable("It is down."),)
DONE: Script = (Text("Good day"), Finish(FinishReason.STOP))
BROKEN: Script = (Text("Half an"), BrokenStream("It broke off."))


@dataclass
class Models:
    """A catalogue of models, each with a provider that says its scripts, call by call."""

    scripts: Mapping[str, Script | None]
    fallbacks: Mapping[str, tuple[str, ...]]
    windows: Mapping[str, int] = field(default_factory=dict)
    demos: frozenset[str] = frozenset()
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.providers = {
            name: Model(name, said, self.calls) for name, said in self.scripts.items()
        }

    def resolve(self, model_id: str | None) -> Route:
        name = model_id or "a"
        if name not in self.providers:
            raise UnknownModel(f"There is no model {name}.")
        can = Capabilities(self.windows.get(name), is_model=name not in self.demos)
        info = ModelInfo(name, f"{name}-provider", f"{name}-model", name.upper(), can)
        return Route(info, self.providers[name], info.name, self.fallbacks.get(name, ()))

    async def renewed(self, route: Route) -> Route | None:
        return None

    def models(self) -> Sequence[ModelInfo]:
        return [self.resolve(name).info for name in self.scripts]


class Model(ScriptedProvider):
    """Says its script at once; without one it waits for the test."""

    def __init__(self, name: str, said: Script | None, called: list[str]) -> None:
        super().__init__()
        self._name, self._said, self._names = name, said, called

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        self._names.append(self._name)
        async with super().stream(request) as deltas:
            if self._said is not None:
                _play(self.calls[-1], self._said)
            yield deltas


def _play(call: Call, script: Script) -> None:
    for said in script:
        if isinstance(said, Exception):
            call.fail(_anew(said))
        else:
            call.send(said)
    call.hang_up()


def _anew(error: Exception) -> Exception:
    """Make the same error once more: no provider raises one twice."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    return made


@asynccontextmanager
async def asking(models: Catalogue, config: EngineConfig = CONFIG) -> AsyncIterator[Bench]:
    store, log, announcements = TroubledStore(), WatchedLog(), Announced()
    window = WindowedContext(ContextConfig(answer_tokens=10), MemoryContextStore(), store)
    live, owns = Live(log, announcements), store.ownership(config.replica_id)
    async with open_engine(config, models, window, store, live, owns) as engine:
        yield Bench(engine, ScriptedProvider(), store, log, announcements)


@dataclass(frozen=True)
class Told:
    """What a turn came to: for its readers, and in its row."""

    row: Turn
    events: list[Event]

    @property
    def attempts(self) -> list[Attempt]:
        return [event for event in self.events if isinstance(event, Attempt)]

    @property
    def records(self) -> tuple[AttemptRecord, ...]:
        return self.row.answer.attempts

    @property
    def error(self) -> str:
        return self.row.answer.error_message or ""


async def told(models: Models, config: EngineConfig = CONFIG) -> Told:
    async with asking(models, config) as b:
        turn = await b.submit()
        events = await b.events(turn)
        return Told(await b.row(turn), events)


def two(first: Script | None, second: Script | None = DONE) -> Models:
    return Models({"a": first, "b": second}, {"a": ("b",)})


async def test_next_model_answers_before_any_text() -> None:
    it = await told(two(DOWN))
    assert (it.row.state, it.row.answer.text) == (TurnState.COMPLETED, "Good day")
    kept = [(r.provider, r.model, r.reason, r.outcome) for r in it.records]
    assert kept == [
        ("a-provider", "a-model", "", "Unreachable"),
        ("b-provider", "b-model", "failover after Unreachable", "completed"),
    ]
    assert [(a.number, a.provider, a.keep) for a in it.attempts] == [
        (1, "a-provider", True),
        (2, "b-provider", True),
    ]


async def test_text_begins_again_behind_an_attempt() -> None:
    it = await told(two((Reasoning("Hm"), *BROKEN)))
    assert [(a.reason, a.keep) for a in it.attempts] == [
        ("", True),
        ("failover after BrokenStream", False),
    ]
    folded = fold(it.events)
    assert (folded.text, folded.reasoning, folded.error_code) == ("Good day", "", None)
    assert (it.row.answer.text, it.row.answer.reasoning) == ("Good day", "")
    assert [e.offset for e in it.events if isinstance(e, TextEvent)] == [0, 0]
    assert it.records[0].output_tokens > 0


HELPED = {
    "no connection": Unreachable("x"),
    "no capacity": Overloaded("x"),
    "a fault": ProviderFault("x"),
    "silence": TimedOut("x", phase="first_event"),
    "HTML": ProtocolViolation("x"),
    "a refused key": CredentialsRefused("x"),
    "a refused request": RequestRefused("x"),
    "a missing model": ModelMissing("x"),
    "an overflow": ContextOverflow("x"),
}
NOT_HELPED = {"a filter": ContentFiltered("x"), "our own failure": InternalError("x")}


@pytest.mark.parametrize("what", HELPED)
async def test_failure_of_one_model_is_not_the_turns(what: str) -> None:
    models = two((HELPED[what],))
    assert (await told(models)).row.answer.text == "Good day"
    assert models.calls == ["a", "b"]


@pytest.mark.parametrize("what", NOT_HELPED)
async def test_failure_that_no_other_model_helps(what: str) -> None:
    models = two((NOT_HELPED[what],))
    assert (await told(models)).row.state is TurnState.FAILED
    assert models.calls == ["a"]


async def test_answer_over_its_limit_is_not_begun_again() -> None:
    models = two((Text("a" * 20), Finish(FinishReason.STOP)))
    config = replace(CONFIG, run=replace(CONFIG.run, answer_limit_chars=10))
    it = await told(models, config)
    assert (it.row.answer.text, it.row.answer.error_code) == ("a" * 10, "too_large")
    assert models.calls == ["a"]


async def test_limit_holds_for_each_attempt() -> None:
    config = replace(CONFIG, run=replace(CONFIG.run, answer_limit_chars=10))
    assert (await told(two(BROKEN), config)).row.answer.text == "Good day"


async def test_last_error_names_what_was_tried() -> None:
    models = Models({"a": DOWN, "b": BROKEN, "c": (Overloaded("It is full."),)}, {"a": ("b", "c")})
    it = await told(models)
    assert it.error == "It is full. Tried before it: a (Unreachable), b (BrokenStream)."
    assert (it.row.answer.text, fold(it.events).text) == ("Half an", "Half an")
    assert it.row.answer.error_code == "provider_unavailable"


async def test_fallbacks_that_lead_back_end() -> None:
    links = {"a": ("b", "b", "a"), "b": ("a", "c"), "c": ("b", "a", "gone")}
    models = Models(dict.fromkeys("abc", DOWN), links)
    assert (await told(models)).row.state is TurnState.FAILED
    assert models.calls == ["a", "b", "c"]


async def test_demo_is_nobodys_fallback() -> None:
    models = replace(two(DOWN), demos=frozenset("b"))
    assert (await told(models)).row.state is TurnState.FAILED
    assert models.calls == ["a"]


async def test_turn_makes_so_many_calls_at_most() -> None:
    models = Models(dict.fromkeys("abcd", DOWN), {"a": ("b", "c", "d")})
    limits = AttemptLimits(most=3)
    await told(models, replace(CONFIG, run=replace(CONFIG.run, attempts=limits)))
    assert models.calls == ["a", "b", "c"]


async def test_nothing_is_begun_after_the_deadline() -> None:
    limits = AttemptLimits(total_s=-1)
    models = two(DOWN)
    await told(models, replace(CONFIG, run=replace(CONFIG.run, attempts=limits)))
    assert models.calls == ["a"]


async def test_context_that_is_too_long_goes_to_a_larger_model() -> None:
    models = Models(dict.fromkeys("abc", DONE), {"a": ("b", "c")}, {"a": 12, "b": 11, "c": 4000})
    it = await told(models)
    assert models.calls == ["c"]
    (record,) = it.records
    assert record.reason == "failover after ContextTooLong"
    assert it.row.answer.receipt is not None
    assert it.row.answer.receipt["model"] == "c"


async def test_context_is_built_for_each_model() -> None:
    models = replace(two(None), windows={"a": 4000, "b": 60})
    async with asking(models) as b:
        first = await b.submit("word " * 10)
        _play(await models.providers["a"].call(), DONE)
        await b.folded(first)
        second = await b.submit("And now?")
        _play(await models.providers["a"].call(1), DOWN)
        assert (await b.folded(second)).text == "Good day"
        assert len(models.providers["a"].calls[1].prompt) == 3
        assert models.providers["b"].calls[0].prompt == ["And now?"]


async def test_usage_is_that_of_the_last_attempt() -> None:
    first = (Text("Half"), Usage(3, 50, estimated=False), BrokenStream("x"))
    it = await told(two(first, (Text("a"), Usage(3, 1, estimated=False), DONE[-1])))
    assert it.row.answer.usage == Usage(3, 1, estimated=False)
    assert [record.output_tokens for record in it.records] == [50, 1]


async def test_usage_of_a_failed_attempt_is_not_the_answers() -> None:
    first = (Text("Half"), Usage(3, 50, estimated=False), BrokenStream("x"))
    usage = (await told(two(first))).row.answer.usage
    assert usage is not None
    assert usage.estimated


async def test_stop_between_two_attempts_keeps_what_there_is() -> None:
    models = two(BROKEN, None)
    async with asking(models) as b:
        turn = await b.submit()
        call = await models.providers["b"].call()
        call.say("Good ")
        await b.log.until(TextEvent)
        await b.engine.stop(ANNA.id, turn.id)
        assert (await b.folded(turn)).finish_reason is FinishReason.STOPPED
        row = await b.row(turn)
        assert [record.outcome for record in row.answer.attempts] == ["BrokenStream", "cancelled"]
        assert call.closed.is_set()


async def test_shorter_text_is_checkpointed_too() -> None:
    models = two(None, None)
    async with asking(models) as b:
        turn = await b.submit()
        first = await models.providers["a"].call()
        first.say("A long beginning")
        await b.store.until(lambda: bool(b.store.saved) and len(b.store.saved[-1].text) == 16)
        first.fail(BrokenStream("x"))
        second = await models.providers["b"].call()
        second.say("Oh")
        await b.store.until(lambda: b.store.saved[-1].text == "Oh")
        second.finish()
        assert (await b.folded(turn)).text == "Oh"


async def test_same_key_follows_the_turn_that_moved_on() -> None:
    models = two(BROKEN)
    async with asking(models) as b:
        turn = await b.submit(key="k")
        await b.folded(turn)
        again = await b.begin(key="k")
        assert (again.created, (await b.folded(again.turn)).text) == (False, "Good day")
        assert models.calls == ["a", "b"]


class Again(Model):
    """Makes a call that failed again, as a combinator does."""

    def __init__(self, *scripts: Script, pause_s: float = 0.0) -> None:
        super().__init__("a", None, [])
        self._scripts, self._pause_s = list(scripts), pause_s

    @override
    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        assert request.tries is not None
        for script in self._scripts:
            self.calls.append(call := Call(request))
            if isinstance(script[0], ProviderError):
                if not request.tries.may_retry(script[0], self._pause_s):
                    raise _anew(script[0])
                request.tries.begin()
            else:
                _play(call, script)
                yield call.deltas()


async def test_tries_on_the_way_are_attempts() -> None:
    models = two(None)
    models.providers["a"] = Again(DOWN, (Overloaded("x"),), DONE)
    it = await told(models)
    assert [(r.reason, r.outcome) for r in it.records] == [
        ("", "Unreachable"),
        ("retry after Unreachable", "Overloaded"),
        ("retry after Overloaded", "completed"),
    ]
    assert [a.number for a in it.attempts] == [1, 2, 3]


async def test_long_pause_is_not_waited_for_with_a_fallback() -> None:
    models = two(None)
    models.providers["a"] = Again(DOWN, DONE, pause_s=10)
    it = await told(models)
    assert [r.reason for r in it.records] == ["", "failover after Unreachable"]


FAILURES: list[ParleyError] = [*HELPED.values(), *NOT_HELPED.values()]
ends = st.sampled_from([*FAILURES, Finish(FinishReason.STOP), None])
texts = st.lists(st.builds(Text, st.text("abc", min_size=1)), max_size=3)
scripts = st.builds(lambda said, end: (*said, *([end] if end else [])), texts, ends)


@given(st.lists(scripts, min_size=1, max_size=5))
async def test_whatever_happens_all_agree(drawn: list[Script]) -> None:
    names = "abcde"[: len(drawn)]
    models = Models(dict(zip(names, drawn, strict=True)), {"a": tuple(names[1:])})
    async with asyncio.timeout(PATIENCE_S):
        it = await told(models)
    folded, answer = fold(it.events), it.row.answer
    assert (it.row.state is TurnState.FAILED) == (folded.error_code is not None)
    assert (it.row.state is TurnState.COMPLETED) == (folded.error_code is None)
    scripts = dict(zip(names, drawn, strict=True))
    said = ["".join(d.text for d in scripts[c] if isinstance(d, Text)) for c in models.calls]
    # What was taken back is given back, where the answer failed before there was other text.
    instead = "" if it.row.state is TurnState.COMPLETED else max(reversed(said), key=len)
    assert folded.text == answer.text == (said[-1] or instead)
    assert [r.provider[0] for r in it.records] == models.calls
    assert [a.provider[0] for a in it.attempts] == models.calls
