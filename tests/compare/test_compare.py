import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.run.test_find import dead_pid
from vxl.compare.comparison import compare
from vxl.compare.terminal import show_comparison, tables
from vxl.compare.write import as_json
from vxl.errors import ConfigError
from vxl.run.find import find_members


def member(
    root: Path, name: str, config: dict[str, Any], result: dict[str, Any] | None = None, **benchmark: float
) -> Path:
    """A member of a sweep with its config, and its result where it is finished."""
    run = root / name
    run.mkdir(parents=True)
    base = {"model": "tiny", "seed": 0, "compressor": {"_target_": "a.DTS", "ratio": 16}, "name": name}
    merged = base | config
    (run / "resolved.yaml").write_text(yaml.safe_dump(merged))
    (run / "provenance.json").write_text("{}")
    if result is not None:
        (run / "RESULT.json").write_text(json.dumps(result))
    if benchmark:
        (run / "evaluate").mkdir()
        answers = [{"key": str(number), "right": number % 2 == 0} for number in range(99)]
        accuracy = {"accuracy": benchmark.pop("accuracy")}
        report = {"accuracy": accuracy, "cost": benchmark, "answers": answers}
        (run / "evaluate" / "clips.json").write_text(json.dumps(report))
    return run


def dts(ratio: int) -> dict[str, Any]:
    return {"compressor": {"_target_": "a.DTS", "ratio": ratio}}


def printed(root: Path) -> str:
    console = Console(width=220, record=True, file=io.StringIO())
    show_comparison(compare(find_members("s", root), title="s"), console)
    return console.export_text()


def test_a_row_a_member_with_differences_metrics_and_cost(tmp_path: Path) -> None:
    member(tmp_path, "s/ratio=4", dts(4), {"loss_last": 0.5, "seconds": 20}, accuracy=0.75, prefill_ms=12.0)
    member(tmp_path, "s/ratio=16", dts(16), {"loss_last": 0.7, "seconds": 10}, accuracy=0.5, prefill_ms=6.0)
    found = compare(find_members("s", tmp_path))
    assert found.keys == ["compressor.ratio"]
    assert [row.differences for row in found.members] == [
        {"compressor.ratio": "4"},
        {"compressor.ratio": "16"},
    ]
    assert [column.name for column in found.columns] == ["loss", "clips", "prefill ms", "train s"]
    assert [column.name for column in found.columns if column.is_cost] == ["prefill ms", "train s"]
    text = printed(tmp_path)
    assert "75.0 %" in text
    assert "6.0" in text


def test_what_only_names_a_run_is_no_difference(tmp_path: Path) -> None:
    for i in (1, 2):
        member(
            tmp_path, f"s/{i}", {"sweep_member": str(i), "paths": {"runs": str(i)}, "seed": i}, {"seconds": 1}
        )
    assert compare(find_members("s", tmp_path)).keys == ["seed"]


def test_what_changes_neither_what_is_learned_nor_its_measure_is_no_difference(tmp_path: Path) -> None:
    for i in (1, 2):
        beside = {"data": {"workers": i}, "checkpoint": {"every": i}}
        trainer = {"val_every": i, "show": i, "log_every": i, "print_every": i, "max_steps": 10 * i}
        member(tmp_path, f"s/{i}", {**beside, "trainer": trainer}, {"seconds": 1})
    assert compare(find_members("s", tmp_path)).keys == ["trainer.max_steps"]


def test_seeds_of_one_setting_get_mean_and_spread(tmp_path: Path) -> None:
    for ratio, losses in ((4, (0.1, 0.2, 0.3)), (16, (0.4, 0.6))):
        for seed, loss in enumerate(losses):
            member(tmp_path, f"s/ratio={ratio},seed={seed}", dts(ratio) | {"seed": seed}, {"loss_last": loss})
    member(tmp_path, "s/ratio=64,seed=0", dts(64), {"loss_last": 0.9})
    found = compare(find_members("s", tmp_path))
    over_seeds = found.plain()["over_seeds"]
    assert [item["setting"] for item in over_seeds] == [{"compressor.ratio": "4"}, {"compressor.ratio": "16"}]
    loss = over_seeds[0]["metrics"]["loss"]
    assert loss["mean"] == pytest.approx(0.2)
    assert loss["deviation"] == pytest.approx(0.1)
    assert loss["count"] == 3
    text = printed(tmp_path)
    assert "3 seeds" in text
    assert "0.200 ± 0.100" in text
    assert "0.500 ± 0.141" in text


def test_a_spread_says_of_how_many_members_it_is(tmp_path: Path) -> None:
    member(tmp_path, "s/seed=0", {"seed": 0}, {"loss_last": 1.0, "seconds": 5}, accuracy=0.5)
    member(tmp_path, "s/seed=1", {"seed": 1}, {"loss_last": 2.0, "seconds": 5})
    text = printed(tmp_path)
    assert "1.500 ± 0.707" in text
    assert "50.0 % (of 1)" in text
    assert "5 ± 0" not in text


def test_members_that_are_not_finished_are_shown_as_such_and_not_averaged(tmp_path: Path) -> None:
    member(tmp_path, "s/seed=0", {"seed": 0}, {"loss_last": 1.0})
    member(tmp_path, "s/seed=1", {"seed": 1}, {"loss_last": 3.0})
    killed = member(tmp_path, "s/seed=2", {"seed": 2})
    (killed / "metrics.csv").write_text("step,loss\n7,9.0\n")
    owner = {"host": socket.gethostname(), "pid": dead_pid()}
    (killed / ".lock").write_text(json.dumps(owner))  # left behind
    failed = tmp_path / "s/seed=3"
    failed.mkdir()
    (failed / "FAILED.json").write_text(json.dumps({"error": "no [frames] in clip.mp4", "type": "DataError"}))
    found = compare(find_members("s", tmp_path))
    assert [row.status for row in found.members] == ["finished", "finished", "killed", "failed"]
    assert found.members[3].differences == {"seed": "3"}
    assert found.plain()["over_seeds"][0]["metrics"]["loss"]["mean"] == 2.0
    text = printed(tmp_path)
    assert "killed, step 7" in text
    assert "seed=3 failed: no [frames] in clip.mp4" in text


def test_other_options_of_a_group_are_named_as_they_are_typed(tmp_path: Path) -> None:
    member(tmp_path, "s/a", {"kv": {"_target_": "vxl.kv.full.Full"}}, {})
    member(tmp_path, "s/b", {"kv": {"_target_": "vxl.kv.streaming.Streaming", "window": 8}}, {})
    found = compare(find_members("s", tmp_path))
    assert [row.differences for row in found.members] == [{"kv": "full"}, {"kv": "streaming"}]


def test_members_are_paired_with_the_first_on_the_same_questions(tmp_path: Path) -> None:
    answers = {"a": [True] * 10 + [False] * 10, "b": [True] * 20, "c": [True] * 19}
    for name, rights in answers.items():
        run = member(tmp_path, f"s/{name}", {"model": name}, {}, accuracy=0.5)
        kept = [{"key": f"q{i}", "right": right} for i, right in enumerate(rights)]
        (run / "evaluate" / "clips.json").write_text(
            json.dumps(
                {
                    "accuracy": {"accuracy": sum(rights) / len(rights)},
                    "answers": kept[::-1] if name == "b" else kept,
                }
            )
        )
    pair, other = compare(find_members("s", tmp_path)).pairs
    assert (pair.benchmark, pair.base.name, pair.other.name) == ("clips", "model=a", "model=b")
    assert other.reason == "other questions"
    assert pair.test is not None
    assert (pair.test.second_only, pair.test.first_only) == (10, 0)
    assert "clips: model=b +50.0 points against model=a (95 %, by video: " in printed(tmp_path)
    assert "McNemar p = 0.002" in " ".join(printed(tmp_path).split())


def test_members_of_unlike_protocols_are_not_paired(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run = member(tmp_path, f"s/{name}", {"model": name}, {}, accuracy=0.5)
        protocol = {"answering": {"checkpoint": name, "preset": name}, "scoring": {"parser": "correct"}}
        report = {
            "accuracy": {"accuracy": 0.5},
            "answers": [{"key": "q", "right": True}, {"key": "r", "right": False}],
            "protocol": protocol,
        }
        (run / "evaluate" / "clips.json").write_text(json.dumps(report))
    (pair,) = compare(find_members("s", tmp_path)).pairs
    assert pair.test is None
    assert pair.reason == "another protocol: preset"
    assert "model=b is not paired with model=a: another protocol: preset" in printed(tmp_path)


def test_json_has_every_number_but_not_the_single_answers(tmp_path: Path) -> None:
    member(tmp_path, "s/a", dts(4), {"loss_last": 0.5}, accuracy=0.75, prefill_ms=12.0)
    written = json.loads(as_json(compare(find_members("s", tmp_path), title="s")))
    assert written["members"][0]["benchmarks"]["clips"] == {
        "accuracy": {"accuracy": 0.75},
        "cost": {"prefill_ms": 12.0},
    }
    assert written["members"][0]["result"] == {"loss_last": 0.5}


def test_a_sweep_that_is_not_there(tmp_path: Path) -> None:
    member(tmp_path, "compression-1a2b3c/ratio=4", dts(4), {})
    with pytest.raises(ConfigError, match="did you mean compression-1a2b3c"):
        find_members("compression-1a2b3d", tmp_path)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_results_come_before_what_differs_and_are_whole_at_any_width(tmp_path: Path, width: int) -> None:
    for name, ratio, lr in (("lora", 4, 1e-4), ("first", 16, 1e-5)):
        own = dts(ratio) | {"lr": lr, "workers": ratio, "init_from": name}
        member(tmp_path, f"s/{name}", own, {"loss_last": 0.257, "heldout_loss": 0.923})
    console = Console(file=io.StringIO(), width=width)
    for table in tables(compare(find_members("s", tmp_path)), "both"):
        table.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    results, _, differences = shown.partition("differences")
    for word in ("lora", "first", "finished", "0.257", "0.923"):
        assert word in results
    for word in ("compressor.ratio", "1e-05", "init_from"):
        assert word in differences
