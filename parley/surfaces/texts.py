"""Texts: what people read that Parley itself says, in the languages that it says it in.

Chainlit brings its own texts in many languages; these are ours, a file for each language in
languages/. A new one is a field here and a line in every file; tests/unit/surfaces/test_texts.py
compares them. What programs read, the API's errors above all, is English.
"""

from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
from starlette.requests import HTTPConnection

ENGLISH: Final = "en"
LANGUAGES: Final = (ENGLISH, "de", "fr", "es", "zh", "ja")
_MOST_ASKED = 20


class ReceiptTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of what the model saw; forms for one and for many have a bar between them."""

    saw: str
    could_call: str
    messages: str
    tokens: str
    turns: str
    estimate: str
    and_: str
    you: str
    answer: str
    tool: str
    not_proved: str
    left_out: str
    dropped: str
    no_answer: str
    older: str
    digest: str


class PageTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What public/page/ says where Chainlit's page has no words, or English ones only."""

    profile: str
    theme: str
    close: str
    edit: str
    to_end: str
    not_opened: str
    file_kind: str
    file_large: str
    files_many: str


class AccountTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the pages of signing in, of leaving and of the account say."""

    title: str
    sign_in: str
    sign_in_with: str
    go_on_as_guest: str
    no_sign_in: str
    code_note: str
    code: str
    go_on: str
    signed_in: str
    go_back: str
    go_on_here: str
    signed_out: str
    sign_out_there: str
    sign_out: str
    back: str
    none_yet: str
    copy_now: str
    read: str
    chat: str
    admin: str
    keys: str
    name: str
    key: str
    may: str
    last_used: str
    days: str
    it_may: str
    comma: str
    make_key: str
    revoked: str
    revoke: str
    revoke_key: str
    until: str
    never: str
    sign_ins: str
    with_: str
    since: str
    last_seen: str
    sign_out_everywhere: str
    this_browser: str
    end: str


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is said, in one language; `tag` names it to a browser."""

    tag: str
    run_again: str
    stopped: str
    failed: str
    interrupted: str
    not_begun: str
    no_text: str
    about: str
    details: str
    earlier_note: str
    earlier: str
    gone: str
    new_chat: str
    model: str
    system_prompt: str
    temperature: str
    as_configured: str
    settings_kept: str
    tools: str
    may_use_tools: str
    images: str
    reasoning: str
    thinking: str
    no_model: str
    down: str
    answered_by: str
    tokens: str
    tokens_in_out: str
    estimated: str
    first_text: str
    duration: str
    speed: str
    attempts: str
    seconds: str
    per_second: str
    offer: str
    offer_button: str
    fetch: str
    fetching: str
    fetched: str
    size: str
    licence: str
    not_named: str
    goes_to: str
    missing: str
    request_id: str
    turn_id: str
    no_thread: str
    not_read: str
    tried: str
    thousands: str
    decimal: str
    guest: str
    greeting: str
    # Of errors: what their codes mean, the sentences that tell them, and parts of those.
    codes: dict[str, str]
    errors: dict[str, str]
    parts: dict[str, str]
    # What went wrong with an attempt, by the name of the error, as the rows have it.
    kinds: dict[str, str]
    phrases: dict[str, str]
    receipt: ReceiptTexts
    page: PageTexts
    account: AccountTexts

    def number(self, value: float, decimals: int = 0) -> str:
        """Write a number as people of the language do."""
        marks = {",": self.thousands, ".": self.decimal}
        return "".join(marks.get(sign, sign) for sign in f"{value:,.{decimals}f}")

    def count(self, forms: str, number: int) -> str:
        """Say how many there are, by the form for one or the one for many."""
        one, _, many = forms.partition(" | ")
        return (one if number == 1 or not many else many).format(count=self.number(number))


def texts_of(asked: str) -> Texts:
    """Give the texts for what a browser asks for: a language, or a whole Accept-Language."""
    return _read(language_of(asked))


def texts_asked_by(connection: HTTPConnection) -> Texts:
    """Give the texts for the browser of a request."""
    return texts_of(connection.headers.get("accept-language", ""))


def language_of(asked: str) -> str:
    """Give the code of the language that somebody likes best of ours, else that of English.

    ``de-CH`` is served by German, Chinese of every kind by the one that there is.
    """
    weighed = [_weighed(item) for item in asked.split(",")[:_MOST_ASKED]]
    # Equal weights stay in their order.
    for weight, code in sorted(weighed, key=lambda item: -item[0]):
        if weight > 0 and code in LANGUAGES:
            return code
    return ENGLISH


def _weighed(item: str) -> tuple[float, str]:
    tag, _, weight = item.partition(";")
    code = tag.strip().replace("_", "-").partition("-")[0].lower()
    try:
        return float(weight.strip().removeprefix("q=") or 1), code
    except ValueError:
        return 0.0, code


@cache
def _read(code: str) -> Texts:
    """Read a file of the package: once, in about a millisecond."""
    content = files("parley.surfaces").joinpath("languages", f"{code}.toml").read_bytes()
    return msgspec.toml.decode(content, type=Texts)
