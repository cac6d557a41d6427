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


NAMED = {
    "B": [
        "Ｂ",
        "Ｂ．",
        "（B）",
        "【B】",
        "「B」",
        "B。",
        "B，因为是蓝色",
        "答案：Ｂ",
        "答案是 B。",
        "正确答案是（B）",
        "选B",
        "选项B",
        "Réponse : B",
        "Antwort: B",
        "Ответ: B",
        "정답: B",
        "_B_",
        "__B__",
        "***B***",
        "> B",
        "- B",
        "1. B",
        "{B}",
        "B!",
        "B?",
        "\ufeffB",
        "$\\boxed{\\text{B}}$",
        "The final answer is \\(B\\)",
        "final answer is $B$",
        '{"answer": "B"}',
        "{'answer': 'B'}",
        "Answer: 'B'",
        "**Answer:** B",
        "<|begin_of_box|>B<|end_of_box|>",
        "B<|im_end|>",
        "<answer>\nB\n</answer>",
        "Answer - B",
        "Answer=B",
        "answer is b",
        "the correct answer is (b)",
        "Letter: B",
        "The best choice would be B",
        "the answer should be B",
        "the answer is likely B",
        "I choose B",
        "I'd go with B.",
        "It's B.",
        "Therefore, B.",
        "B is correct",
        "(A) is wrong, so (B)",
        "Option A is wrong, option B is right",
        "Option B is right, option A is wrong",
        "Not A, but B",
        "It's not A. It's B.",
        "The answer is not A, it is B.",
        "Not red but blue",
    ],
    "A": ["The answer is A because B and C are wrong.", "A instead of B", "A (not B)", "red, not blue"],
    "D": ["The answer to the question is D."],
}
UNNAMED = [
    "not (B)",
    "Not B",
    "The answer is not B",
    "I would not choose B",
    "It is not red",
    "A & B",
    "A+B",
    "A;B",
    "A and B",
    "A、B",
    "A和B",
    "Both (A) and (C)",
    "I can't tell",
    "B-roll footage",
    "It is D-Day",
    "C'est",
    "So A man walks",
    "The answer is a dog",
    "The answer is in the video",
    "Options: A. red B. blue",
    "<think>A, I guess. Answer: A",
]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *((text, letter) for letter, texts in NAMED.items() for text in texts),
        *((text, None) for text in UNNAMED),
    ],
)
def test_answers_of_many_models(text: str, letter: str | None) -> None:
    """In other languages, in marks of emphasis and formulas, in a sentence; denied, of several, cut off."""
    assert parse_letter(text, ("red", "blue", "green", "yellow")) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C major", "A"),
        ("It is D minor.", "B"),
        ("A minor", "C"),
        ("C. A minor", "C"),
        ("D", "D"),
        ("B flat", "D"),
    ],
)
def test_texts_that_begin_with_a_letter_of_their_own(text: str, letter: str) -> None:
    assert parse_letter(text, ("C major", "D minor", "A minor", "B flat")) == letter


def test_what_is_not_so_is_no_answer() -> None:
    assert parse_letter("It is not visible", ("visible", "not visible")) == "B"
    assert parse_letter("It is not visible", ("visible", "hidden")) is None
    assert parse_letter("$5", ("$5", "$6")) == "A"
