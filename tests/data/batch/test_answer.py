"""How questions are asked."""

from vxl.data.batch.answer import format_question
from vxl.data.sample import Question


def test_a_question_is_asked_as_longvideobench_does():
    question = Question("What colour is it?", ("red", "green"), "A")
    assert format_question(question) == (
        "What colour is it?\nA. red\nB. green\n"
        "Answer with the option's letter from the given choices directly."
    )
