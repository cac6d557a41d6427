import pytest

from vxl.data.batch.letter import parse_letter

OPTIONS = ("red", "blue", "green", "A dog")

TABLE = [
    ("B", "B"),
    ("(B)", "B"),
    ("B) blue", "B"),
    ("B. blue", "B"),
    ("A dog is running", "D"),
    ("The best answer is: C", "C"),
    ("Answer: B", "B"),
    ("", None),
    ("Both A and B", None),
    ("**B**", "B"),
    ("The answer is **B**.", "B"),
    ("<answer>B</answer>", "B"),
    ("\\boxed{B}", "B"),
    ("The correct choice is D", "D"),
    ("b", "B"),
    ("I think it is (C) because red", "C"),
]


@pytest.mark.parametrize(("text", "letter"), TABLE)
def test_the_rule_where_published_readers_differ(text: str, letter: str | None) -> None:
    assert parse_letter(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("<think>A or B? Surely (A).</think>\nC", "C"),
        ("\\boxed{\\text{B}}", "B"),
        ("`D`", "D"),
        ("A or B", None),
        ("A/B", None),
        ("B, C", None),
        ("A, because it is red", "A"),
        ("The answer is A or C", None),
        ("Answer: A. No, the answer is B", "B"),
        ("Let me look.\nA\nNo, it is\nC\n", "C"),
        ("It is not option A but option C", "C"),
        ("(A) or (B)", None),
        ("Let me see.\nB\n", "B"),
        ("It is blue.", "B"),
        ("red and blue", None),
        ("I see a dog", "D"),
        ("reddish", None),
        ("E", None),
        ("[C]", "C"),
        ("C: green", "C"),
        ("cat", None),
    ],
)
def test_other_answers(text: str, letter: str | None) -> None:
    assert parse_letter(text, OPTIONS) == letter


def test_a_prefill_is_part_of_the_answer() -> None:
    prefill = "Best Option: ("
    assert parse_letter("B) blue", OPTIONS, prefill) == "B"
    assert parse_letter("B", OPTIONS, prefill) == "B"
    assert parse_letter("(C)", OPTIONS, prefill) == "C"
    assert parse_letter("A dog)", OPTIONS, prefill) == "D"


def test_longer_options_are_looked_for_first_and_equal_ones_are_one() -> None:
    assert parse_letter("a red car", ("car", "red car", "bus")) == "B"
    assert parse_letter("the bus", ("bus", "car", "bus")) == "A"
    assert parse_letter("nothing", ("", "", "car")) is None
    assert parse_letter("They collide", ("They collide",)) == "A"
    assert parse_letter("F", tuple("uvwxyz")) == "F"


COLOURS = ("red", "green", "a blue one", "yellow")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b", "B"),
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
def test_the_letter_that_an_answer_names(text: str, letter: str | None) -> None:
    assert parse_letter(text, COLOURS) == letter


def test_letters_reach_as_far_as_the_options() -> None:
    assert parse_letter("E", [*COLOURS, "white"]) == "E"
