import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.evaluate.benchmarks import fixtures
from vxl.cli.benchmark import run_benchmark
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmarks import lvbench, mlvu, videomme, vnbench
from vxl.evaluate.rescore.replies import read_replies
from vxl.evaluate.rescore.score import FileScores, check, score, show_scores
from vxl.statistics import difference

ORACLES = Path(__file__).parents[1] / "oracles"


def percent(value: float | None) -> float:
    assert value is not None
    return round(100 * value, 3)


def published(name: str, benchmark: Any) -> FileScores:
    return score(ORACLES / f"{name}.jsonl", benchmark)


@pytest.fixture(scope="module")
def video_mme() -> Any:
    return videomme.VideoMme(videomme.VideoMmeConfig(), data={}, cache=Path())


def test_the_published_evaluations_come_out_to_the_last_digit(video_mme: Any) -> None:
    dense, chunked = published("videomme_dense", video_mme), published("videomme_chunked", video_mme)
    for scores, mean, iid, clustered in ((dense, 66.370, 0.909, 0.918), (chunked, 66.037, 0.912, 0.954)):
        found = scores.metrics[0].estimate
        assert (found.items, found.clusters) == (2700, 900)
        assert (percent(found.mean), percent(found.se_iid), percent(found.se)) == (mean, iid, clustered)
    test = difference(dense.metrics[0].units, chunked.metrics[0].units)
    assert percent(test.estimate.mean) == -0.333
    assert (percent(test.estimate.se_iid), percent(test.estimate.se)) == (0.543, 0.530)
    assert (test.first_only, test.second_only) == (112, 103)
    assert round(test.mcnemar or 0, 3) == 0.585
    assert 0.5 < test.sign_flip < 0.7
    long = published("lvbench_dense", lvbench.LvBench(lvbench.LvBenchConfig(), data={}, cache=Path()))
    found = long.metrics[0].estimate
    assert (found.items, found.clusters) == (1549, 103)
    assert (percent(found.mean), percent(found.se_iid), percent(found.se)) == (47.644, 1.269, 1.479)


def test_the_table_shows_groups_and_the_difference_at_80_columns(video_mme: Any) -> None:
    console = Console(file=io.StringIO(), width=80)
    both = [published("videomme_dense", video_mme), published("videomme_chunked", video_mme)]
    show_scores(both, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert " medium   " in text  # a value's name and its numbers are one line
    assert "letters answered (right), %: A 21 (25), B 32 (27), " in text
    for word in (
        "76.778",
        "1.408",
        "1.333",
        "58.000",
        "1.646",
        "1.604",
        "-0.333",
        "0.530",
        "112/103",
        "0.585",
    ):
        assert word in text


def test_forms_of_other_tools(tmp_path: Path) -> None:
    rows: dict[str, Any] = {
        "lmms.jsonl": [
            {
                "doc_id": 0,
                "doc": {"question_id": "901-2", "videoID": "v"},
                "target": "B",
                "filtered_resps": [["B."]],
            }
        ],
        "vnbench.jsonl": [
            {"question_id": "a_b_cnt_edit1_2", "pred": "B", "gt": "B", "type": "cnt_edit1", "try": 2}
        ],
        "kit.json": [{"index": 7, "video": "v", "A": "x", "B": "y", "answer": "B", "prediction": "It is y."}],
        "official.json": [
            {
                "video_id": "1",
                "duration": "short",
                "questions": [{"question_id": "1-1", "answer": "B", "response": "B"}],
            }
        ],
        "plain.jsonl": [{"key": "k", "cluster": "v", "gold": "B", "text": "(B)", "types": ["a", "b"]}],
        "vxl.json": {
            "answers": [{"key": "k", "cluster": "v", "answer": "B", "text": "B", "options": ["x", "y"]}]
        },
    }
    benchmark = videomme.VideoMme(videomme.VideoMmeConfig(), data={}, cache=Path())
    for name, value in rows.items():
        text = "\n".join(map(json.dumps, value)) if name.endswith(".jsonl") else value
        found = score(fixtures.write(tmp_path / name, text), benchmark)
        assert [item.right for item in found.graded] == [True], name
        assert found.graded[0].cluster, name
    (tmp_path / "kit.tsv").write_text("index\tvideo\tanswer\tprediction\n3\tv\tC\tC\n")
    assert read_replies(tmp_path / "kit.tsv")[0].gold == "C"
    assert read_replies(tmp_path / "vnbench.jsonl")[0].cluster == "a_b"
    assert read_replies(tmp_path / "plain.jsonl")[0].labels == {"types": ("a", "b")}
    with pytest.raises(DataError, match="forms that are read"):
        read_replies(fixtures.write(tmp_path / "other.json", [{"x": 1}]))


def test_with_annotations_what_is_not_answered_is_wrong(tmp_path: Path) -> None:
    place = fixtures.lvbench(tmp_path)
    benchmark = lvbench.LvBench(lvbench.LvBenchConfig(annotations=str(place)), data={}, cache=Path())
    answers = fixtures.write(tmp_path / "answers.json", {"9001": "B", "9002": "C"})
    found = score(answers, benchmark)
    assert len(found.graded) == 6
    assert sum(item.right for item in found.graded) == 2  # C is the doubled A
    assert sum(item.failed is not None for item in found.graded) == 4
    with pytest.raises(DataError, match="no key in common"):
        score(fixtures.write(tmp_path / "wrong.json", {"x": "B"}), benchmark)
    with pytest.raises(DataError, match="another split or revision"):
        score(fixtures.write(tmp_path / "more.json", {"9001": "B", "7": "A"}), benchmark)
    bare = lvbench.LvBench(lvbench.LvBenchConfig(), data={}, cache=Path())
    with pytest.raises(DataError, match="which answers are right"):
        score(answers, bare)


def test_published_readers_need_no_annotations_and_golds_that_are_no_letters_do(tmp_path: Path) -> None:
    """`Answer: B` is A to Video-MME's reader; an interval can't be compared without its reader."""
    line = {"key": "901-2", "cluster": "v", "gold": "B", "text": "Answer: B"}
    path = fixtures.write(tmp_path / "a.jsonl", json.dumps(line))
    for scoring, right in (("correct", True), ("legacy", False)):
        config = videomme.VideoMmeConfig(scoring=scoring)
        (found,) = score(path, videomme.VideoMme(config, data={}, cache=Path())).graded
        assert found.right is right
    line["gold"] = "3.2 - 11.5"
    path = fixtures.write(tmp_path / "b.jsonl", json.dumps(line))
    with pytest.raises(DataError, match=r"'3\.2 - 11\.5', which is no letter"):
        score(path, videomme.VideoMme(videomme.VideoMmeConfig(), data={}, cache=Path()))


def test_vnbench_lines_are_scored_four_of_four(tmp_path: Path) -> None:
    lines = [
        {"question_id": f"a_b_cnt_edit1_{n}", "pred": "B", "gt": "B", "type": "cnt_edit1", "try": n}
        for n in range(4)
    ]
    lines += [line | {"question_id": f"a_b_ret_edit1_{line['try']}", "type": "ret_edit1"} for line in lines]
    lines[-1]["pred"] = "C"
    path = fixtures.write(tmp_path / "r.jsonl", "\n".join(map(json.dumps, lines)))
    found = score(path, vnbench.VnBench(vnbench.VnBenchConfig(), data={}, cache=Path()))
    values = {metric.name: metric.estimate.mean for metric in found.metrics}
    assert values["overall (4 of 4)"] == 0.5
    assert values["cnt (4 of 4)"] == 1.0


def test_check_lists_counts_defects_and_missing_videos(tmp_path: Path) -> None:
    place = fixtures.mlvu(tmp_path)
    fixtures.write(tmp_path / "video" / "1_plotQA" / "plot_0.mp4", "x")
    config = mlvu.MlvuConfig(annotations=str(place), videos=str(tmp_path / "video"))
    console = Console(file=io.StringIO(), width=160)
    assert not check(mlvu.Mlvu(config, data={}, cache=Path()), console)
    text = console.file.getvalue()
    for word in (
        "another revision",
        "the row is empty",
        "Catching the drone",
        "videos are not there",
        "count_0.mp4",
    ):
        assert word in text


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    oracle = str(ORACLES / "lvbench_dense.jsonl")
    assert run_benchmark(["score", "lvbench", oracle, f"json={out}"]) == 0
    assert "47.644" in capsys.readouterr().out
    assert json.loads(out.read_text())[0]["metrics"][0]["items"] == 1549
    assert run_benchmark(["check", "mlvu", f"annotations={fixtures.mlvu(tmp_path)}"]) == 1
    with pytest.raises(ConfigError, match="which file of answers"):
        run_benchmark(["score", "mlvu"])
    with pytest.raises(ConfigError, match="needs check, score or lmms"):
        run_benchmark(["mlvu"])
    with pytest.raises(ConfigError):
        run_benchmark(["check", "mlvu", "annotation=x"])


def test_files_of_other_protocols_are_not_compared_without_a_word(tmp_path: Path) -> None:
    answers = [
        {"key": f"k{n}", "cluster": f"v{n}", "answer": "B", "text": "B", "options": ["x", "y"]}
        for n in range(4)
    ]
    benchmark = videomme.VideoMme(videomme.VideoMmeConfig(), data={}, cache=Path())

    def shown(**answering: Any) -> str:
        files = []
        for name, more in (("a.json", {"checkpoint": "1", "frames": 8}), ("b.json", answering)):
            protocol = {"answering": {"checkpoint": "2", "frames": 8} | more, "scoring": {"parser": 1}}
            written = fixtures.write(tmp_path / name, {"answers": answers, "protocol": protocol})
            files.append(score(written, benchmark))
        console = Console(file=io.StringIO(), width=120)
        show_scores(files, console)
        return console.file.getvalue()

    assert "not of one protocol: frames differ" in shown(frames=16)
    assert "not of one protocol" not in shown(checkpoint="3", parts={"kv": "snapkv"})
