"""What may be asked about: what was watched, or a path; and options with letters."""

from types import SimpleNamespace
from typing import Any

import pytest

from vxl.errors import ConfigError
from vxl.generate import Answer
from vxl.generate.loaded import Clip, LoadedModel


class Stub:
    """Answers with one text, and notes what it was asked and what it watched."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.watched: list[Any] = []
        self.asked: list[str] = []

    def watch(self, look: Any) -> Any:
        self.watched.append(look)
        return SimpleNamespace()

    def ask_all(self, context: Any, questions: list[str], **settings: Any) -> list[Answer]:
        self.asked += questions
        return [Answer(self.text, (1,), True, 1.0, 1.0, 1.0, 1, 0, None)]


def test_a_path_is_watched_for_the_question() -> None:
    stub: Any = Stub("A dog")
    for look in ("a.mp4", Clip("a.mp4", start=2.0)):
        answer = LoadedModel.ask(stub, look, "What?")
        assert (answer.text, answer.option) == ("A dog", None)
    assert stub.watched == ["a.mp4", Clip("a.mp4", start=2.0)]
    assert stub.asked == ["What?", "What?"]
    with pytest.raises(ConfigError, match="expected: a path"):
        LoadedModel.ask(stub, 3, "What?")  # type: ignore[arg-type]


def test_options_get_letters_and_the_answer_names_one() -> None:
    stub: Any = Stub("B. a dragon")
    assert LoadedModel.ask(stub, "a.mp4", "What?", options=["a dog", "a dragon"]).option == "a dragon"
    assert stub.asked[0].splitlines()[:3] == ["What?", "A. a dog", "B. a dragon"]
    assert LoadedModel.ask(stub, "a.mp4", "What?", options="a dog|a dragon").option == "a dragon"
    assert stub.asked[1] == stub.asked[0]
    assert LoadedModel.ask(Stub("?"), "a.mp4", "What?", options=["x", "y"]).option is None  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="holds 1"):
        LoadedModel.ask(stub, "a.mp4", "What?", options=["x"])
