"""How questions are asked and answers are read."""

import pytest

from vxl.data.batch.answer import format_question, parse_letter
from vxl.data.sample import Question

OPTIONS = ("red", "green", "a blue one", "yellow")


def test_a_question_is_asked_as_longvideobench_does():
    question = Question("What colour is it?", ("red", "green"), "A")
    assert format_question(question) == (
        "What colour is it?\nA. red\nB. green\n"
        "Answer with the option's letter from the given choices directly."
    )


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b", None),
        ("B.", "B"),
        ("(B)", "B"),
        ("B. green", "B"),
        ("B) red", "B"),
        ("B\nbecause A is wrong", "B"),
        ("B because it grows", "B"),
        ("The answer is C.", "C"),
        ("Answer: D", "D"),
        ("Option (A)", "A"),
        ("it is green", "B"),
        ("Green.", "B"),
        ("A blue one", "C"),  # the article is no answer
        ("A green one", "B"),
        ("red or green", None),
        ("reddish", None),
        ("E", None),
        ("", None),
        ("Dogs", None),
        ("A's", None),
    ],
)
def test_the_letter_that_an_answer_names(text, letter):
    assert parse_letter(text, OPTIONS) == letter


def test_letters_reach_as_far_as_the_options():
    assert parse_letter("E", [*OPTIONS, "white"]) == "E"
