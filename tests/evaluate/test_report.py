import json
from pathlib import Path
from typing import Any

import pytest

from vxl.errors import DataError
from vxl.evaluate.report import read_report

ANSWER: dict[str, Any] = {
    "key": "q",
    "cluster": "a.mp4",
    "kind": "what",
    "question": "What?",
    "options": ["red", "blue"],
    "answer": "A",
    "text": "A",
    "parsed": "A",
    "right": True,
    "score": 1,
    "labels": {"depth": ["0.5"]},
}


def written(folder: Path, answer: Any) -> Path:
    path = folder / "clips.json"
    path.write_text(json.dumps({"accuracy": {"accuracy": 1.0}, "answers": [ANSWER, answer]}))
    return path


@pytest.mark.parametrize("change", [{}, {"parsed": None}, {"score": 0.5}, {"later": ["key"]}])
def test_an_answer_is_read(tmp_path: Path, change: dict[str, Any]) -> None:
    assert read_report(written(tmp_path, ANSWER | change))["answers"][1] == ANSWER | change


@pytest.mark.parametrize("name", ANSWER)
def test_an_answer_of_other_kinds_is_named(tmp_path: Path, name: str) -> None:
    wrong = 7 if isinstance(ANSWER[name], str | list | dict) else "no"
    with pytest.raises(DataError, match=rf"answer 1 has a (int|str) for its '{name}'"):
        read_report(written(tmp_path, ANSWER | {name: wrong}))


def test_what_is_no_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clips\.json: answer 1 is a list"):
        read_report(written(tmp_path, ["q"]))
