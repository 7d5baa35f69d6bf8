"""Builder: the active context from its store, rebuilt from rows on a miss, counted, windowed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parley.chat.messages import Message, Role
from parley.chat.models import Sampling, Tokenizer, Toolbox
from parley.chat.ports import ContextStore, Route, TurnStore
from parley.chat.tools import countable
from parley.chat.turns import Answer, Context, ContextRecord, Exchange, Turn, most_walked
from parley.context.asking import question_of, request_of, specs_text
from parley.context.receipt import most_tokens, receipt_for, receipt_of, with_tools
from parley.context.tokens import ESTIMATE, IMAGE_TOKENS, Count, TokenCounts, estimate_tokens
from parley.context.window import CountedTurn, Limits, window
from parley.observability.metrics import CONTEXTS

# The rule of older turns that an active context does not hold.
ACTIVE_CONTEXT = "active_context"


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """The `MAX_HISTORY_*` settings, the system prompt, and the room kept for an answer."""

    history_tokens: int | None = 4000
    history_turns: int | None = 20
    history_messages: int | None = None
    system_prompt: str = "You are a helpful assistant. Answer in the language of the question."
    answer_tokens: int = 1024
    # An active context has at most this many turns and characters, whatever the limits allow:
    # the rule `ACTIVE_CONTEXT`.
    most_turns: int = 200
    most_chars: int = 512 * 1024


class WindowedContext:
    """The `ContextBuilder` port: every turn sees the branch that it ends, windowed."""

    def __init__(self, config: ContextConfig, store: ContextStore, turns: TurnStore) -> None:
        """Read contexts from `store`, and from `turns` what it does not have."""
        self._config = config
        self._store = store
        self._turns = turns
        self._tokens = TokenCounts()

    async def build(  # noqa: D102 - see the port
        self,
        turn: Turn,
        route: Route,
        toolbox: Toolbox | None = None,
        said: Sequence[Message] = (),
    ) -> Context:
        before = (
            Message.of(
                Role.SYSTEM,
                turn.system_prompt or route.system_prompt or self._config.system_prompt,
            ),
            *turn.earlier,
        )
        present = (*before, *question_of(turn), *said)
        record = await self._record(turn)
        tokenizer = route.provider.tokenizer(route.upstream_model)
        history, counts = await self._counted(record, present, tokenizer)
        more = _more_before(turn, record)
        sampling = turn.sampling.or_else(route.defaults)
        toolbox = toolbox or Toolbox(choice=turn.extras.tool_choice)
        request = request_of(turn, route.upstream_model, sampling, toolbox)
        tool_tokens = self.count(specs_text(request.tools)) if request.tools else 0
        present_tokens = sum(count.tokens for count in counts) + tool_tokens
        cut = window(history, present_tokens, self._limits(sampling, route))
        kept = [message for t in cut.kept for message in t.exchange.messages]
        request = replace(request, messages=(*before, *kept, *present[len(before) :]))
        receipt = receipt_of(turn, route.info.id, request, cut, counts, more_before=more)
        receipt = with_tools(receipt, toolbox, tool_tokens)
        dropped = [t for t, rule in cut.dropped if rule == cut.rule]
        counted_by = tokenizer.name if tokenizer else ESTIMATE
        return Context(
            request=request,
            record=_with_counts(record, history, counted_by),
            input_tokens=receipt.input_tokens,
            most_input_tokens=most_tokens(receipt),
            dropped_messages=sum(len(t.counts) for t in dropped),
            dropped_tokens=sum(t.tokens for t in dropped),
            more_dropped=more,
            rule=cut.rule or (ACTIVE_CONTEXT if more else ""),
            receipt=receipt.to_json(),
        )

    def shortened(self, built: Context, max_tokens: int) -> Context:  # noqa: D102
        request = built.request
        request = replace(request, sampling=replace(request.sampling, max_tokens=max_tokens))
        return replace(built, request=request, receipt=receipt_for(built.receipt, request))

    async def extend(self, turn: Turn, built: Context, answer: Answer) -> None:  # noqa: D102
        if not turn.keep:
            return
        exchange = Exchange(turn.id, turn.parent_id, turn.text, answer.text, tools=answer.tools)
        exchanges = self._newest((*built.record.exchanges, exchange))
        record = ContextRecord(turn.id, exchanges, built.record.counted_by)
        await self._store.save(turn.thread_id, record)

    def count(self, text: str) -> int:  # noqa: D102
        return estimate_tokens(text)

    async def _record(self, turn: Turn) -> ContextRecord:
        """Give the active context of the branch that the turn continues."""
        if turn.parent_id is None:
            return ContextRecord("", ())
        record = await self._store.load(turn.thread_id)
        if record and record.head_turn_id == turn.parent_id:
            CONTEXTS.labels("store").inc()
            return replace(record, exchanges=self._newest(record.exchanges))
        CONTEXTS.labels("stale" if record else "rows").inc()
        rows = await self._turns.history(
            turn.owner_id, turn.parent_id, self._most_turns(), self._config.most_chars
        )
        return ContextRecord(turn.parent_id, tuple(rows))

    async def _counted(
        self, record: ContextRecord, present: Sequence[Message], tokenizer: Tokenizer | None
    ) -> tuple[list[CountedTurn], list[Count]]:
        """Count what has no count by this tokenizer yet, all at once."""
        name = tokenizer.name if tokenizer else ESTIMATE
        kept = record.counted_by == name
        now = [countable(message) for message in present]
        texts = [*now]
        for said in record.exchanges:
            texts += [said.user_text] if not kept or said.user_tokens is None else []
            texts += _answer_texts(said) if not kept or said.answer_tokens is None else []
        counts = await self._tokens.count(tokenizer, texts)

        def of(text: str, tokens: int | None) -> Count:
            return Count(tokens, name) if kept and tokens is not None else counts[text]

        history = [
            CountedTurn(
                e,
                of(e.user_text, e.user_tokens),
                tuple(of(text, e.answer_tokens) for text in _answer_texts(e)),
            )
            for e in record.exchanges
        ]
        present_counts = [
            _with_images(counts[text], said) for text, said in zip(now, present, strict=True)
        ]
        return history, present_counts

    def _newest(self, exchanges: Sequence[Exchange]) -> tuple[Exchange, ...]:
        """Bound an active context as the rebuild from the rows is bounded (`TurnStore.history`)."""
        most = self._most_turns()
        chars = answered = 0
        kept: list[Exchange] = []
        for said in reversed(exchanges[-most_walked(most) :]):
            chars += said.chars
            answered += bool(said.answer_text)
            if chars > self._config.most_chars or answered > most:
                break
            kept.append(said)
        return tuple(reversed(kept))

    def _most_turns(self) -> int:
        """One more than is shown, so that the receipt can say that something was dropped."""
        most = self._config.history_turns
        if most is None:
            return self._config.most_turns
        return min(most + 1, self._config.most_turns)

    def _limits(self, sampling: Sampling, route: Route) -> Limits:
        return Limits(
            history_tokens=self._config.history_tokens,
            history_turns=self._config.history_turns,
            history_messages=self._config.history_messages,
            context_window=route.info.capabilities.context_window,
            answer_tokens=sampling.max_tokens or self._answer_tokens(route),
        )

    def _answer_tokens(self, route: Route) -> int:
        """Room for an answer whose length nobody has set: not all of a small model's window."""
        context_window = route.info.capabilities.context_window
        if context_window is None:
            return self._config.answer_tokens
        return min(self._config.answer_tokens, context_window // 4)


def _answer_texts(said: Exchange) -> list[str]:
    """Give what is counted of an answer: one text, or one for each of its messages."""
    if not said.tools:
        return [said.answer_text]
    return [countable(message) for message in said.messages[1:]]


def _with_images(count: Count, message: Message) -> Count:
    if not message.images:
        return count
    return Count(count.tokens + IMAGE_TOKENS * len(message.images), ESTIMATE)


def _more_before(turn: Turn, record: ContextRecord) -> bool:
    """Whether older turns than those of the active context exist."""
    oldest_id = record.exchanges[0].parent_id if record.exchanges else turn.parent_id
    return oldest_id is not None


def _with_counts(
    record: ContextRecord, history: Sequence[CountedTurn], counted_by: str
) -> ContextRecord:
    """Keep the counts with the messages, but for estimates that stand in for a tokenizer."""

    def kept(count: Count) -> int | None:
        return count.tokens if count.counted_by == counted_by else None

    exchanges = tuple(
        replace(
            t.exchange,
            user_tokens=kept(t.user),
            answer_tokens=None if t.exchange.tools else kept(t.answer[0]),
        )
        for t in history
    )
    return ContextRecord(record.head_turn_id, exchanges, counted_by)
