"""Builder: the active context from its store, rebuilt from rows on a miss, windowed."""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.chat.messages import Message, Role
from parley.chat.ports import ContextStore, Route, TurnStore
from parley.chat.turns import Context, ContextRecord, Exchange, Turn
from parley.context.receipt import receipt_of
from parley.context.tokens import estimate_tokens
from parley.context.window import Limits, Window, exchange_tokens, window


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """The `MAX_HISTORY_*` settings, the system prompt, and the room kept for an answer."""

    history_tokens: int | None = 4000
    history_turns: int | None = 20
    history_messages: int | None = None
    system_prompt: str = "You are a helpful assistant. Answer in the language of the question."
    answer_tokens: int = 1024
    # A rebuild reads at most this many turns, whatever the other limits allow.
    rebuild_turns: int = 200


class WindowedContext:
    """The `ContextBuilder` port: every turn sees the branch that it ends, windowed."""

    def __init__(self, config: ContextConfig, store: ContextStore, turns: TurnStore) -> None:
        """Read contexts from `store`, and from `turns` what it does not have."""
        self._config = config
        self._store = store
        self._turns = turns

    async def build(self, turn: Turn, route: Route) -> Context:  # noqa: D102 - see the port
        system = turn.system_prompt or self._config.system_prompt
        history = _answered(await self._history(turn))
        present = (system, *(message.text for message in turn.earlier), turn.text)
        cut = window(history, present, self._limits(turn, route))
        messages = (
            Message.of(Role.SYSTEM, system),
            *turn.earlier,
            *_messages_of(cut),
            Message.of(Role.USER, turn.text),
        )
        receipt = receipt_of(messages, cut)
        return Context(
            messages=messages,
            input_tokens=cut.present_tokens + sum(map(exchange_tokens, cut.kept)),
            dropped_messages=2 * len(cut.dropped),
            dropped_tokens=sum(map(exchange_tokens, cut.dropped)),
            rule=cut.rule,
            receipt=receipt,
        )

    async def extend(self, turn: Turn, answer_text: str) -> None:  # noqa: D102
        if not turn.keep:
            return
        earlier: tuple[Exchange, ...] = ()
        if turn.parent_id is not None:
            record = await self._store.load(turn.thread_id)
            if record is None or record.head_turn_id != turn.parent_id:
                return  # the next turn rebuilds it from the rows
            earlier = record.exchanges
        exchanges = (*earlier, Exchange(turn.id, turn.text, answer_text))[-self._most_turns() :]
        await self._store.save(turn.thread_id, ContextRecord(turn.id, exchanges))

    def count(self, text: str) -> int:  # noqa: D102
        return estimate_tokens(text)

    async def _history(self, turn: Turn) -> Sequence[Exchange]:
        if turn.parent_id is None:
            return ()
        record = await self._store.load(turn.thread_id)
        if record and record.head_turn_id == turn.parent_id:
            return record.exchanges
        rows = await self._turns.history(turn.owner_id, turn.parent_id, self._most_turns())
        await self._store.save(turn.thread_id, ContextRecord(turn.parent_id, tuple(rows)))
        return rows

    def _most_turns(self) -> int:
        """One more than is shown, so that the receipt can say that something was dropped."""
        most = self._config.history_turns
        if most is None:
            return self._config.rebuild_turns
        return min(most + 1, self._config.rebuild_turns)

    def _limits(self, turn: Turn, route: Route) -> Limits:
        return Limits(
            history_tokens=self._config.history_tokens,
            history_turns=self._config.history_turns,
            history_messages=self._config.history_messages,
            context_window=route.info.capabilities.context_window,
            answer_tokens=turn.sampling.max_tokens or self._config.answer_tokens,
        )


def _answered(history: Sequence[Exchange]) -> tuple[Exchange, ...]:
    """Leave out turns that have no answer: two questions in a row confuse chat templates."""
    return tuple(exchange for exchange in history if exchange.answer_text)


def _messages_of(cut: Window) -> list[Message]:
    messages = []
    for exchange in cut.kept:
        messages.append(Message.of(Role.USER, exchange.user_text))
        messages.append(Message.of(Role.ASSISTANT, exchange.answer_text))
    return messages
