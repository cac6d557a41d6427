"""The index of experiments and the README's results: made of JSON, and of nothing else."""

import json
import re
from pathlib import Path

import index
import pytest

from tests.experiments.studies_read import EXPERIMENTS

README = EXPERIMENTS.parent / "README.md"


def experiment(folder: Path, header: str, results: object = None) -> Path:
    """An experiment with one header and one JSON."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.toml").write_text(f'question = "Is it?"\ncommand = "run"\n{header}')
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def rows() -> list[index.Row]:
    """Those of all experiments."""
    return index.rows()


def test_the_committed_index_is_what_is_made(rows: list[index.Row]) -> None:
    assert (EXPERIMENTS / "README.md").read_text() == index.index(rows), "python experiments/index.py"


def test_the_readmes_results_are_what_is_made(rows: list[index.Row]) -> None:
    text = README.read_text()
    assert text == index.with_headlines(text, rows), "python experiments/index.py"
    assert text.count("](experiments/") > 4


def test_every_folder_of_an_experiment_has_a_header() -> None:
    folders = {path.parent for path in EXPERIMENTS.glob("*/run.sh")}
    assert folders == {path.parent for path in EXPERIMENTS.glob("*/experiment.toml")}


def test_what_was_not_run_says_so(rows: list[index.Row]) -> None:
    for row in rows:
        if (EXPERIMENTS / row.name / "study.py").exists() and not (
            EXPERIMENTS / row.name / "results.json"
        ).exists():
            assert index.NOT_RUN in row.answer


def test_a_number_of_the_readme_that_is_in_no_json_fails(rows: list[index.Row]) -> None:
    text = README.read_text()
    results = text[text.index(index.BEGIN) :]
    number = re.search(r"\d+\.\d", results)
    assert number is not None
    at = text.index(index.BEGIN) + number.start()
    changed = text[:at] + "9" + text[at:]
    assert changed != index.with_headlines(changed, rows)


def test_the_readmes_table_of_watching_is_measured() -> None:
    measured = json.loads((EXPERIMENTS / "005_watch_once" / "results.json").read_text())
    shown = re.findall(r"^\| ([\d,]+) \| `prefill=(.*?)` \| (.*?) \|$", README.read_text(), re.M)
    assert len(shown) == 4
    for frames, prefill, cells in shown:
        mode = {"mode": "dense"} if prefill == "full" else {"mode": "chunked", "time_rows": "window"}
        wanted = {"frames": int(frames.replace(",", "")), "kv": "full"} | mode
        (row,) = [row for row in measured if wanted.items() <= row.items()]
        second, decoding = 1000 * row["second_question_s"], row["decode_tok_s"]
        expected = (
            f"{row['ttft_s']:.1f} s | {row['peak_gib']:.1f} GiB | {second:.0f} ms | {decoding:.0f} tokens/s"
        )
        assert cells == expected


def test_numbers_come_from_json(tmp_path: Path) -> None:
    header = """
answer = "{share} % of {all} rows, {right} right, twice as long: {twice}"
interval = "{low} to {high}"
[numbers]
share = { at = ["rows", { name = "a" }, "share"], times = 100 }
all = { at = ["rows"], count = {} }
right = { at = ["rows"], count = { right = true } }
twice = { at = ["rows", { name = "b" }, "s"], over = ["rows", 0, "s"], digits = 0 }
low = { at = ["interval", 0], digits = 2 }
high = { at = ["interval", 1], digits = 2 }
"""
    rows = [{"name": "a", "share": 0.512, "right": True, "s": 2}, {"name": "b", "right": False, "s": 4}]
    folder = experiment(
        tmp_path / "001_it", header, {"rows": rows, "interval": [0.1, 0.2], "commit": "0123456789"}
    )
    row = index.row_of(folder)
    assert row.answer == "51.2 % of 2 rows, 1 right, twice as long: 2"
    assert (row.interval, row.commit) == ("0.10 to 0.20", "0123456")
    assert "| [001_it](001_it) | Is it? | 51.2 % of 2 rows" in index.index([row])


def test_a_typed_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(index.HeaderError, match="a number is typed"):
        index.row_of(experiment(tmp_path, 'answer = "53.1 % are right"'))
    index.row_of(experiment(tmp_path, 'answer = "on an H100, by Video-XL-2"', {}))


def test_names_and_keys_are_checked(tmp_path: Path) -> None:
    with pytest.raises(index.HeaderError, match="are not those of"):
        index.row_of(experiment(tmp_path, 'answer = "{missing} %"', {}))
    with pytest.raises(index.HeaderError, match="unknown anwser; known: question, command, answer"):
        index.row_of(experiment(tmp_path, 'anwser = "yes"', {}))
    row = 'answer = "{a}"\n[numbers]\na = { at = [{ name = "a" }, "x"] }'
    with pytest.raises(index.HeaderError, match="2 rows have"):
        index.row_of(experiment(tmp_path, row, [{"name": "a", "x": 1}, {"name": "a", "x": 2}]))


def test_a_study_answers_in_its_json(tmp_path: Path) -> None:
    folder = experiment(tmp_path, "")
    assert index.row_of(folder).answer == "not known yet: not run"
    (folder / "cpu.json").write_text(
        json.dumps({"size": "tiny", "answer": {"text": "it does", "interval": "1 to 2"}})
    )
    row = index.row_of(folder)
    assert row.answer == "`model=small`: not known yet: not run. tiny: it does"
    assert row.interval == "tiny: 1 to 2"
