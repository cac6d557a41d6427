"""Text that is shown as it comes, and strings that end it."""

from typing import Any

import pytest

from tests.generate.watched import watched
from tests.small_model import model
from vxl.data.batch.tokenizer import train_tokenizer
from vxl.errors import DataError
from vxl.generate import ask, ask_all
from vxl.generate.text import StreamedText

TOKENIZER = train_tokenizer(["abc"] * 4, 260)
"""A byte a token, nearly."""


def told(text: str, *stop: str) -> tuple[list[str], StreamedText]:
    shown: list[str] = []
    grows = StreamedText(TOKENIZER, stop, shown.append)
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        if grows.add(token):
            break
    grows.finish()
    return shown, grows


def test_spaces_around_a_text_are_left_out_unless_it_goes_on_with_another() -> None:
    shown: list[str] = []
    for bare, expected in ((True, "b c"), (False, " b c ")):
        shown.clear()
        grows = StreamedText(TOKENIZER, (), shown.append, bare)
        for token in TOKENIZER.encode(" b c ", add_special_tokens=False):
            grows.add(token)
        assert grows.finish() == expected
        assert "".join(shown).rstrip() == expected.rstrip()


def test_half_a_character_is_never_shown() -> None:
    shown, _ = told("a é 界 b")
    assert "".join(shown) == "a é 界 b"
    assert not any("\ufffd" in piece for piece in shown)
    assert len(shown) > 3


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one. two. three", [". t"], "one"),
        ("one. two. three", ["three", "two"], "one. "),
        ("x one", ["one", " one"], "x"),
        ("one\n\ntwo", ["\n\n"], "one"),
        ("ababac", ["abac"], "ab"),
        ("a 界 b", ["界"], "a "),
        ("nothing of it", ["xyz"], "nothing of it"),
        ("it ends in the begi", ["beginning"], "it ends in the begi"),
    ],
)
def test_a_stop_string_ends_the_text_wherever_tokens_end(text: str, stop: list[str], expected: str) -> None:
    shown, grows = told(text, *stop)
    assert "".join(shown) == grows.text == expected
    assert grows.ended == (expected != text)


class Words:
    """Every token is a word: three letters and a space."""

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return "".join(f"{token:03d} " for token in tokens)


@pytest.fixture(scope="module")
def m() -> Any:
    return model()


def test_rows_of_a_batch_stop_on_their_own(m: Any) -> None:
    context, questions = watched(m), [[5, 6], [8], [30, 31, 32]]
    whole = ask_all(context, questions, max_new_tokens=20, tokenizer=Words())
    words = whole[1].text.split()
    stop = f"{words[4][-1]} {words[5][:2]}"  # across two tokens
    shown: dict[int, str] = {0: "", 1: "", 2: ""}

    def on_text(row: int, piece: str) -> None:
        shown[row] += piece

    cut = ask_all(context, questions, max_new_tokens=20, tokenizer=Words(), stop_text=[stop], on_text=on_text)
    for row, (full, answer) in enumerate(zip(whole, cut, strict=True)):
        place = full.text.find(stop)
        assert answer.text == (full.text if place < 0 else full.text[:place]).strip()
        assert shown[row].strip() == answer.text
        assert answer.stopped == (place >= 0)
        assert answer.tokens == full.tokens[: len(answer.tokens)]
    assert cut[1].stopped
    assert len(cut[1].tokens) == 6
    alone = ask(context, questions[1], max_new_tokens=20, tokenizer=Words(), stop_text=[stop])
    assert (alone.text, alone.tokens) == (cut[1].text, cut[1].tokens)


def test_text_needs_a_tokenizer(m: Any) -> None:
    with pytest.raises(DataError, match="give a tokenizer="):
        ask(watched(m), [5], stop_text=["."])
