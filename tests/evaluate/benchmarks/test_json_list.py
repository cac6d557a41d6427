"""Questions of one's own: letters, numbers and texts as people and tables write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vxl.errors import DataError
from vxl.evaluate.benchmarks.json import JsonList, JsonListConfig
from vxl.evaluate.benchmarks.tables import find_video, read_rows
from vxl.evaluate.item import BenchmarkItem

ROW = {"video": "a.mp4", "question": "Which?", "options": ["red", "green", "blue"], "answer": "B"}


def items(folder: Path, *rows: dict[str, Any]) -> list[BenchmarkItem]:
    (folder / "q.json").write_text(json.dumps(rows))
    config = JsonListConfig(json=str(folder / "q.json"))
    return JsonList(config, data={}, cache=folder).items()


@pytest.mark.parametrize(
    "answer", ["B", "b", "(B)", "B.", "(b)", " B ", "B) green", "B. green", "green", 1, 1.0]
)
@pytest.mark.parametrize("lettered", [False, True])
def test_the_right_option_is_named_in_many_ways(answer: object, lettered: bool, tmp_path: Path) -> None:
    options = ["A. red", "B. green", "C. blue"] if lettered else ROW["options"]
    (item,) = items(tmp_path, {**ROW, "options": options, "answer": answer})
    assert (item.gold, item.options) == ("B", ("red", "green", "blue"))


@pytest.mark.parametrize("answer", ["D", "", "yellow", "B. red", 3, -1, 1.5, True, None, ["B"]])
def test_an_answer_that_names_no_option(answer: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 0"):
        items(tmp_path, {**ROW, "answer": answer})


def test_options_that_are_letters_or_numbers_themselves(tmp_path: Path) -> None:
    letters = {**ROW, "options": ["B", "A", "C"]}
    numbers = {**ROW, "options": [2, 1, 0], "answer": 1}
    assert [item.gold for item in items(tmp_path, {**letters, "id": 1}, {**numbers, "id": 2})] == ["A", "B"]


@pytest.mark.parametrize("none", [None, "", float("nan")])
def test_what_a_table_leaves_open_is_no_text(none: object, tmp_path: Path) -> None:
    open_keys = dict.fromkeys(("id", "kind", "cluster", "duration", "start", "end"), none)
    found = items(tmp_path, {**ROW, **open_keys}, {**ROW, **open_keys, "video": "b.mp4"})
    assert [(item.key, item.kind, item.cluster) for item in found] == [
        ("0", "question", "a.mp4"),
        ("1", "question", "b.mp4"),
    ]
    assert (found[0].start, found[0].end, found[0].seconds, found[0].labels) == (None, None, 0.0, {})
    (free,) = items(tmp_path, {"video": "a.mp4", "question": "What?", "answer": none})
    assert free.gold == ""


@pytest.mark.parametrize("change", [{"start": "soon"}, {"end": True}, {"duration": "10:05"}, {"start": [1]}])
def test_times_that_are_no_numbers(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"row 0: '{next(iter(change))}' is"):
        items(tmp_path, {**ROW, **change})


@pytest.mark.parametrize("options", [["red", None], ["red", float("nan")], {"A": "red"}, "red|green"])
def test_options_that_are_no_list_of_texts(options: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 0: .*option"):
        items(tmp_path, {**ROW, "options": options, "answer": "A"})


def test_rows_hold_separators_within_strings_and_no_key_twice(tmp_path: Path) -> None:
    rows = [{**ROW, "question": "one\u2028two\x85three?", "id": n} for n in range(2)]
    file = tmp_path / "q.JSONL"
    file.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", newline="")
    assert read_rows(file) == rows
    for name in ("q.jsonl", "q.json"):
        text = '{"answer": "A", "answer": "B"}'
        (tmp_path / name).write_text(text if name.endswith("l") else f"[{text}]")
        with pytest.raises(DataError, match="the key 'answer' comes twice"):
            read_rows(tmp_path / name)


@pytest.mark.parametrize("ending", ["m4v", "mov", "ts", "MP4", "mkv"])
def test_a_video_of_any_ending_is_found(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{ending}").touch()
    for name in ("a", "a.mp4"):
        assert find_video(tmp_path, name) == tmp_path / f"a.{ending}"


@pytest.mark.parametrize("ending", ["png", "JPEG", "webp"])
def test_frames_of_any_ending_are_a_video(ending: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"1.{ending}").touch()
    assert find_video(tmp_path, "a.mp4") == tmp_path / "a"
