"""Budget: what one turn may still use of its owner's tokens, reserved before each provider call.

A turn may call providers many times: over fallbacks, after a broken answer, between tools. Each
call is reserved for at the most that it can come to, and counted as what it came to.
"""

from parley.chat.limits import Admission, Need
from parley.chat.turns import Context, Turn
from parley.chat.usage import Usage

# An answer for whose length nobody has set a limit: by the model's window, where that is known.
_LONGEST, _LONGEST_UNKNOWN = 4096, 2048
# A call whose answer has room for less is not worth its question.
_SHORTEST = 16


class Budget:
    """Counts one turn's tokens; `spent` are those of the calls that are over."""

    def __init__(self, turn: Turn, admission: Admission) -> None:
        """Reserve at `admission`, which let the turn begin."""
        self.spent = 0
        self._turn = turn
        self._admission = admission
        self._calls_before = 0
        self._begun_tokens = 0
        self._room: int | None = None

    def inherit(self, calls: int, answer_tokens: int) -> None:
        """Take over what an owner that died has used: so many calls, and what came of them.

        The next call may be given that, to go on with.
        """
        asked = (self._turn.answer.receipt or {}).get("input_tokens")
        self.spent += answer_tokens + (calls * asked if isinstance(asked, int) else 0)
        self._calls_before = 0 if asked else calls
        self._begun_tokens = answer_tokens

    async def for_call(self, context: Context, window: int | None) -> int | None:
        """Reserve for a call; gives the tokens that its answer may have.

        None where nobody counts. Raises `RateLimited` where there are not enough left.
        """
        # Nobody knows what those asked for; this is asked for much the same.
        self.spent += self._calls_before * context.input_tokens
        asked = self.spent + context.most_input_tokens + 2 * self._begun_tokens
        self._calls_before = self._begun_tokens = 0
        longest = context.request.sampling.max_tokens or _longest(context, window)
        # One more: that an answer is too long is seen by a token that there is no room for.
        need = Need(self.spent, asked + min(longest, _SHORTEST) + 1, asked + longest + 1)
        reserved = await self._admission.reserve(self._turn.id, need)
        self._room = None if reserved is None else reserved - asked - 1
        return self._room

    def ended(self, context: Context, usage: Usage | None, answer_tokens: int) -> None:
        """Count a call that is over: as its provider says, else as we count.

        An estimate may be high: an answer has no more than there was room for.
        """
        if usage is None:
            most = answer_tokens if self._room is None else self._room
            usage = Usage(context.input_tokens, min(answer_tokens, most))
        self.spent += usage.input_tokens + usage.output_tokens


def _longest(context: Context, window: int | None) -> int:
    if window is None:
        return _LONGEST_UNKNOWN
    return max(_SHORTEST, min(_LONGEST, window - context.input_tokens))
