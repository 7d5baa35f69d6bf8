"""What the model saw, as people read it."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from parley.chat.messages import Role
from parley.chat.models import Toolbox, ToolSpec
from parley.chat.receipts import DroppedTurn, Receipt, ReceiptMessage, Seen
from parley.surfaces.receipt_text import receipt_markdown
from parley.surfaces.receipts import SeenShape, seen_json
from parley.surfaces.texts import texts_of

ENGLISH = texts_of("en")
RECEIPT = Receipt(
    model="p:m",
    upstream_model="m",
    sampling={},
    messages=(
        ReceiptMessage(Role.SYSTEM, None, 1200, "o200k"),
        ReceiptMessage(Role.USER, "t", 1, "estimate"),
    ),
    dropped=(DroppedTurn("a", 10, "MAX_HISTORY_TURNS"), DroppedTurn("b", 4, "no_answer")),
    more_before=True,
    limits={"history_turns": 1},
    input_tokens=1201,
    system_prompt="secret",
    digest="abc",
)


def test_every_message_and_what_was_left_out() -> None:
    text = receipt_markdown(Seen("t", RECEIPT, ("Be brief.", "Hello")), ENGLISH)
    assert text == (
        "`p:m` saw 2 messages with 1,201 tokens, counted by `o200k` and an estimate.\n\n"
        "**1. System prompt** · 1,200 tokens\n\n```text\nBe brief.\n```\n\n"
        "**2. You** · 1 token\n\n```text\nHello\n```\n\n"
        "**Left out**\n\n- 1 turn with 10 tokens: `MAX_HISTORY_TURNS`\n"
        "- 1 turn with 4 tokens: nothing was answered\n- older turns, which were not read\n\n"
        "SHA-256 of the request:\n`abc`\n"
    )


def test_text_that_is_not_proved_is_not_shown() -> None:
    seen = Seen("t", RECEIPT, None)
    text, document = receipt_markdown(seen, ENGLISH), seen_json(seen)
    assert "no longer holds what was sent" in text
    assert "secret" not in text + str(document)
    assert document["verified"] is False


def test_long_text_is_cut_and_says_so() -> None:
    text = receipt_markdown(Seen("t", RECEIPT, ("x" * 1700, "Hello")), ENGLISH)
    assert "x" * 600 + "… (+1,100)" in text


@given(st.text(st.sampled_from("`\n a"), max_size=40))
def test_no_text_leaves_its_code_block(text: str) -> None:
    shown = receipt_markdown(Seen("t", RECEIPT, (text, "Hello")), ENGLISH)
    block = shown.split("tokens\n\n", 1)[1]
    fence = block[: block.index("text\n")]
    assert set(fence) == {"`"}
    assert block.removeprefix(f"{fence}text\n").split(f"\n{fence}\n")[0] == text


def test_tools_and_their_results_are_told() -> None:
    receipt = replace(
        RECEIPT,
        messages=(*RECEIPT.messages, ReceiptMessage(Role.TOOL, "t", 9, "estimate")),
        toolbox=Toolbox((ToolSpec("web_search", "", {}),)),
        tool_tokens=70,
    )
    text = receipt_markdown(Seen("t", receipt, ("Be brief.", "Hello", "<b>found</b>")), ENGLISH)
    assert "It could call `web_search`." in text
    assert "**3. Tool** · 9 tokens\n\n```text\n<b>found</b>\n```" in text


def test_a_receipt_is_what_the_document_says_of_it() -> None:
    seen = Seen("t", RECEIPT, ("Be brief.", "Hello"))
    shape = msgspec.convert(msgspec.to_builtins(seen_json(seen)), SeenShape)
    assert set(msgspec.structs.asdict(shape)) == set(seen_json(seen))


def test_people_read_it_in_their_language() -> None:
    text = receipt_markdown(Seen("t", RECEIPT, ("Be brief.", "Hello")), texts_of("de"))
    assert text == (
        "`p:m` hat 2 Nachrichten mit 1.201 Token gesehen, gezählt mit `o200k` und einer Schätzung.\n\n"
        "**1. Systemanweisung** · 1.200 Token\n\n```text\nBe brief.\n```\n\n"
        "**2. Du** · 1 Token\n\n```text\nHello\n```\n\n"
        "**Weggelassen**\n\n- 1 Frage mit Antwort, 10 Token: `MAX_HISTORY_TURNS`\n"
        "- 1 Frage mit Antwort, 4 Token: es gab keine Antwort\n"
        "- ältere Fragen und Antworten, die nicht gelesen wurden\n\n"
        "SHA-256 der Anfrage:\n`abc`\n"
    )
