from pathlib import Path

import pytest

from vxl.errors import CheckpointError
from vxl.evaluate.work.answers import AnswerFile, RawAnswer, read_answers, set_aside


def answer(key: str, text: str = "B") -> RawAnswer:
    return RawAnswer(key=key, text=text, cost={"watch_ms": 1.0})


def test_a_line_that_a_kill_cut_off_is_left_out_wherever_the_cut_is(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path, "f", "w")
    file.add([answer("a"), answer("b", "é\n")])
    file.close()
    whole = file.path.read_bytes()
    lines = whole.split(b"\n")
    for size in range(len(whole)):
        file.path.write_bytes(whole[:size])
        found = read_answers(tmp_path, "f")
        complete = (
            sum(size >= len(b"\n".join(lines[: n + 1])) for n in (1, 2)) if size >= len(lines[0]) else 0
        )
        assert len(found) == complete
    file.path.write_bytes(whole)
    assert read_answers(tmp_path, "f")["b"].text == "é\n"


def test_a_file_after_a_cut_goes_on_in_a_new_one_and_the_first_answer_wins(tmp_path: Path) -> None:
    first = AnswerFile(tmp_path, "f", "one")
    first.add([answer("a", "first")])
    second = AnswerFile(tmp_path, "f", "two")
    second.add([answer("a", "second"), answer("b")])
    for file in (first, second):
        file.close()
    assert second.path != first.path
    found = read_answers(tmp_path, "f")
    assert {key: value.text for key, value in found.items()} == {"a": "first", "b": "B"}
    AnswerFile(tmp_path, "f", "three").close()
    assert len(list(tmp_path.glob("answers.*.jsonl"))) == 2  # one without answers is taken away


def test_a_real_answer_replaces_a_failed_one(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path, "f", "w")
    file.add([RawAnswer(key="a", text="", failed="out of memory"), answer("a")])
    file.close()
    assert read_answers(tmp_path, "f")["a"].failed is None


def test_answers_of_another_protocol_are_put_aside_and_kept(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path, "old", "w")
    file.add([answer("a")])
    file.close()
    assert set_aside(tmp_path, "new") == ["old"]
    assert read_answers(tmp_path, "new") == {}
    assert read_answers(tmp_path / "aside-old", "old").keys() == {"a"}
    assert set_aside(tmp_path, "new") == []


def test_a_folder_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        AnswerFile(blocked / "below", "f", "w")
