"""The receipt: what the model saw, provable by its digest."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.messages import Message, Role, TextPart
from parley.context.receipt import digest_of, receipt_of
from parley.context.window import Limits, window
from tests.unit.context.support import exchange

MESSAGES = st.lists(st.builds(Message.of, st.sampled_from(Role), st.text(max_size=5)), max_size=4)


@given(MESSAGES, MESSAGES)
def test_two_prompts_share_no_digest(one: list[Message], other: list[Message]) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)


@given(st.lists(st.builds(Message.of, st.sampled_from(Role), st.text(max_size=5)), min_size=1))
def test_any_change_changes_the_digest(messages: list[Message]) -> None:
    before = digest_of(messages)
    longer = replace(messages[-1], parts=(*messages[-1].parts, TextPart("!")))
    assert digest_of([*messages[:-1], longer]) != before
    assert digest_of(messages[:-1]) != before
    other = Role.USER if messages[0].role is not Role.USER else Role.SYSTEM
    assert digest_of([replace(messages[0], role=other), *messages[1:]]) != before


def test_text_does_not_move_between_messages() -> None:
    def of(*texts: str) -> str:
        return digest_of([Message.of(Role.USER, text) for text in texts])

    assert len({of("ab", "c"), of("a", "bc"), of("abc"), of("abc", ""), of("", "abc")}) == 5


def test_receipt_has_ids_and_counts_and_no_text() -> None:
    history = [exchange("secret one", "s"), exchange("secret two", "s")]
    cut = window(history, ("system", "question"), Limits(history_turns=1))
    messages = [Message.of(Role.SYSTEM, "system"), Message.of(Role.USER, "secret")]
    receipt = receipt_of(messages, cut)
    assert receipt["kept_turns"] == [history[1].turn_id]
    assert receipt["dropped_turns"] == [history[0].turn_id]
    assert (receipt["rule"], receipt["digest"]) == ("MAX_HISTORY_TURNS", digest_of(messages))
    assert receipt["message_tokens"] == [6, 6]
    assert "secret" not in str(receipt)
