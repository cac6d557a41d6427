"""`dry_run=true`: what its screen says about learning rates, samples and what a selector leaves."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from vxl.cli.runs import show_runs
from vxl.config.compose import compose
from vxl.errors import ConfigError, DataError
from vxl.selector.query import QueryConfig
from vxl.train.parallel.strategy import FSDP2Config
from vxl.train.preview import (
    Outlook,
    activations_line,
    kept_line,
    preview,
    preview_members,
    samples_line,
    stage_line,
)
from vxl.train.step.stage import PartRates

WORDS = ["model=tiny", "trainer=cpu", "logger=csv", "trainer.max_steps=40", "data.batch=4"]


def test_it_names_rates_samples_and_parts(tmp_path, capsys) -> None:
    config = compose("train", [*WORDS, "optim.lr=0.02", f"paths.runs={tmp_path}"])
    preview(config)
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "learning rate 0.02 (cosine)" in said
    assert "160 in all" in said
    assert "tiny, 32-true, strategy single, 1 device" in said
    rates = replace(config.stage, train=["projector", "llm"], part_lr=PartRates(projector=0.5))
    assert (
        stage_line(replace(config, stage=rates), {"projector", "llm"})
        == "videoxl2_instruct: learning rates projector 0.5, llm 0.02 (cosine)"
    )


def test_it_says_what_a_selector_leaves() -> None:
    config = compose("train", WORDS)
    assert kept_line(config, 100) == ""
    half = replace(config, selector=QueryConfig(keep=0.5, tokens=None))
    assert kept_line(half, 100) == ", of which the selector keeps about 50"
    assert kept_line(replace(config, selector=QueryConfig(keep=0.5, tokens=30)), 100).endswith("about 30")


def test_epochs_are_counted_where_the_data_is_there(tmp_path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps([{"video": f"{n}.mp4"} for n in range(64)]))
    words = [*WORDS, "data=json", f"data.json={tmp_path / 'mine.json'}", f"data.videos={tmp_path}"]
    outlook = Outlook.of(compose("train", words))
    assert samples_line(outlook) == "160 in all: 2.5 epochs of 64"
    assert samples_line(replace(outlook, samples=1)) == "160 in all: 160 epochs of 1"
    (tmp_path / "mine.json").unlink()
    with pytest.raises(DataError, match=r"mine\.json"):
        Outlook.of(outlook.config)


def test_a_card_need_not_hold_what_is_offloaded() -> None:
    on_card = replace(Outlook.of(compose("train", WORDS)), device="cuda")
    offloaded = replace(on_card, config=replace(on_card.config, strategy=FSDP2Config(offload=True)))
    assert on_card.needed == on_card.sizes.bytes_a_process + on_card.activations
    assert offloaded.needed == offloaded.activations > 0


def test_a_sweep_is_a_row_a_member(tmp_path, capsys, monkeypatch) -> None:
    """What differs stands in the table or is said by member, the rest once; nothing is written."""
    monkeypatch.setenv("COLUMNS", "80")
    words = [*WORDS, f"paths.runs={tmp_path}"]
    members: list = [(f"lr={lr}", compose("train", [*words, f"optim.lr={lr}"])) for lr in (0.1, 0.2)]
    assert preview_members("s", [*members, ("lr=-1", ConfigError("no rate"))]) == 1
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines() if line.startswith(" lr=0")] == [
        "lr=0.1",
        "lr=0.2",
    ]
    assert "stage of lr=0.2: videoxl2_instruct: vision, compressor, projector, llm learn," in said.out
    assert said.out.count("data: data=clips") == 1
    assert "member lr=-1 is refused: no rate" in said.err
    assert list(tmp_path.iterdir()) == []


def test_nine_members_are_nine_rows_whose_common_numbers_are_said_once(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = [*WORDS, f"paths.runs={tmp_path}"]
    configs = {
        f"ratio={ratio},seed={seed}": compose("train", [*words, f"compressor.ratio={ratio}"])
        for ratio in (4, 16, 64)
        for seed in range(3)
    }
    assert preview_members("s", list(configs.items())) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if line.startswith(" ratio=")]
    assert rows == [
        [name, str({4: 32, 16: 8, 64: 2}[c.compressor.ratio]), "yes"] for name, c in configs.items()
    ]
    assert "each: of a row 2,048, trained 1,388,800, memory 21.2 MiB, activations 216 MiB" in " ".join(
        said.split()
    )
    assert len(said.splitlines()) < 22


def test_a_stage_of_the_compressor_alone_is_not_said_to_need_nothing() -> None:
    outlook = Outlook.of(compose("train", [*WORDS, "stage=dts_reconstruct"]))
    assert outlook.activations == 0
    assert activations_line(outlook).startswith("not known")
    assert activations_line(Outlook.of(compose("train", WORDS))).startswith(
        "about 216 MiB a process for 4 rows"
    )


def test_previews_are_not_listed_as_runs(tmp_path, monkeypatch) -> None:
    preview(compose("train", [*WORDS, f"paths.runs={tmp_path}", "name=looked"]))
    console = Console(file=io.StringIO(), width=80)
    show_runs(tmp_path, {}, None, (), console)
    show_runs(tmp_path, {"status": "new"}, None, (), console)
    assert console.file.getvalue().count("looked") == 1
