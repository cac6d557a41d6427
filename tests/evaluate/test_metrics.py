from vxl.evaluate.metrics import macro, majority_share, micro, position_bias
from vxl.evaluate.scoring import Graded


def graded(kind: str, answer: str, parsed: str | None) -> Graded:
    return Graded(
        key=f"{kind}{answer}{parsed}",
        kind=kind,
        question="?",
        options=("red", "blue"),
        answer=answer,
        text=parsed or "hm",
        parsed=parsed,
    )


ITEMS = [
    graded("colour", "A", "A"),
    graded("colour", "B", "B"),
    graded("colour", "A", "A"),
    graded("count", "A", "B"),
]


def test_a_macro_mean_weighs_kinds_alike_and_a_micro_mean_weighs_items_alike() -> None:
    assert macro(ITEMS, "m_avg").estimate.mean == 0.5
    assert macro(ITEMS, "m_avg").macro
    assert micro(ITEMS).estimate.mean == 0.75


def test_the_majority_is_the_most_frequent_right_letter() -> None:
    assert majority_share(ITEMS) == ("A", 0.75)
    assert majority_share([]) is None


def test_letters_are_compared_with_what_was_right() -> None:
    assert position_bias(ITEMS) == {"A": (0.5, 0.75), "B": (0.5, 0.25)}
