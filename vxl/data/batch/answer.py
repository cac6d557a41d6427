"""How a multiple-choice question is asked; training and evaluation share it."""

from string import ascii_uppercase

from vxl.data.sample import Question

INSTRUCTION = "Answer with the option's letter from the given choices directly."


def format_question(question: Question) -> str:
    """A multiple-choice question as training, validation and evaluation all ask it."""
    options = (f"{letter}. {text}" for letter, text in zip(ascii_uppercase, question.options, strict=False))
    return "\n".join([question.question, *options, INSTRUCTION])
