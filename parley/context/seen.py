"""Seen: what the model saw for a turn, read back from its receipt and the rows."""

from parley.chat.errors import NotFound
from parley.chat.ports import TurnStore
from parley.chat.receipts import Seen
from parley.chat.tools import countable
from parley.context.receipt import read_receipt, rebuild


class TurnReceipts:
    """The `Receipts` port: a text is shown only where the digest proves that it was sent."""

    def __init__(self, turns: TurnStore) -> None:
        """Read receipts and texts from `turns`."""
        self._turns = turns

    async def seen(self, owner_id: str, turn_id: str) -> Seen:  # noqa: D102 - see the port
        turn = await self._turns.turn(owner_id, turn_id)
        receipt = read_receipt(turn.answer.receipt)
        if receipt is None:
            raise NotFound("There is no receipt for this turn: no model was asked, or not yet.")
        wanted = {message.turn_id for message in receipt.messages if message.turn_id}
        exchanges = await self._turns.exchanges(owner_id, sorted(wanted))
        request = rebuild(receipt, turn, exchanges)
        texts = tuple(countable(message) for message in request.messages) if request else None
        return Seen(turn.id, receipt, texts)

    async def turn_of_answer(self, owner_id: str, answer_step_id: str) -> str:  # noqa: D102
        return await self._turns.turn_of_step(owner_id, answer_step_id)
