import math
from dataclasses import replace

from vxl.evaluate.scoring import Graded, accuracy, by


def graded(kind: str, answer: str, parsed: str | None, options: int = 4) -> Graded:
    return Graded(
        key="k",
        kind=kind,
        question="?",
        options=tuple("abcdefgh"[:options]),
        answer=answer,
        text=parsed or "hm",
        parsed=parsed,
    )


def test_an_answer_without_a_letter_is_wrong_and_counted() -> None:
    found = accuracy([graded("x", "A", "A"), graded("x", "A", None), graded("x", "B", "A")])
    assert (found.right, found.total, found.unparsed) == (1, 3, 1)


def test_chance_follows_the_number_of_options() -> None:
    assert accuracy([graded("x", "A", "A", 4), graded("x", "A", "A", 2)]).chance == 0.375


def test_beating_chance_takes_the_whole_interval() -> None:
    few = accuracy([graded("x", "A", "A"), graded("x", "A", "A")])
    many = accuracy([graded("x", "A", "A")] * 40 + [graded("x", "A", "B")] * 20)
    assert few.share == 1.0
    assert many.beats_chance
    assert accuracy([graded("x", "A", "A")] + [graded("x", "A", "B")] * 2).beats_chance is False


def test_kinds_stand_in_order_of_appearance_and_sum_to_all() -> None:
    items = [graded("when", "A", "A"), graded("count", "B", "A"), graded("when", "C", "C")]
    kinds = by(items, lambda item: item.kind)
    assert list(kinds) == ["when", "count"]
    assert kinds["when"].share == 1.0
    assert kinds["count"].share == 0.0
    assert sum(kind.total for kind in kinds.values()) == accuracy(items).total


def test_no_questions_give_no_number() -> None:
    found = accuracy([])
    assert math.isnan(found.share)
    assert found.interval == (0.0, 1.0)


def test_what_cannot_be_parsed_stays_in_the_denominator() -> None:
    found = accuracy([graded("x", "A", "A"), graded("x", "A", None), graded("x", "B", None)])
    assert found.share == 1 / 3


def test_any_accepted_answer_is_right() -> None:
    several = replace(graded("x", "A", "C"), accepted=("B", "C"))
    assert several.right
    assert not replace(several, parsed="D").right
    assert not replace(several, parsed=None).right
