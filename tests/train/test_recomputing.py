"""`llm.recomputed=auto` under pretended amounts of memory: as few blocks as fit, and the same numbers."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from tests.acceptance.scripts import numbers, start, with_clips
from vxl.cli.main import main
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.option.rebuild import plain
from vxl.run.changes import config_fingerprint, differences
from vxl.train import preview, recomputing
from vxl.train.config import TrainConfig
from vxl.train.peak import peak_memory
from vxl.train.recomputing import ROOM, decide, free_for_a_process, least_free
from vxl.train.run import train_or_resume
from vxl.train.sizes import outlined_learner, training_sizes
from vxl.units import GIB

AUTO = ("llm.checkpointing=true", "llm.recomputed=auto")
FULL = ["model=videoxl2", "stage=videoxl2_instruct", "vision.weights=random", "vision.checkpointing=true"]
FULL += ["data.batch=1", "data.packing=true", "data.max_tokens=8192", "trainer.precision=bf16-true"]
SOME = [1, 66, 75, 79.2, 90, 100, 110, 139.8]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def needed() -> dict[int, float]:
    """Bytes that each number of recomputed blocks needs, of the 7B in full on two GPUs."""
    words = [*FULL, "strategy=fsdp2", "trainer.devices=2", "llm.checkpointing=true"]
    config: TrainConfig = compose("train", words)
    model = outlined_learner(config)
    sizes, found = training_sizes(config, model), {}
    for blocks in range(29):
        each = dataclasses.replace(config, llm=dataclasses.replace(config.llm, recomputed=blocks / 28))
        # A packed row of 8,192 tokens holds 56 groups of 144 tokens and 4 frames.
        found[blocks] = peak_memory(each, sizes, model, tokens=8192, frames=224, supervised=8192).total
    return found


@pytest.mark.parametrize("gib", SOME)
def test_as_few_blocks_as_fit(gib: float, needed: dict[int, float]) -> None:
    config = compose("train", [*FULL, "strategy=fsdp2", "trainer.devices=2", *AUTO])
    found = decide(config, gib * GIB)
    assert found is not None
    fitting = [blocks for blocks, bytes_ in needed.items() if bytes_ <= ROOM * gib * GIB]
    assert found.blocks == min(fitting, default=28)
    assert found.needed == pytest.approx(needed[found.blocks])
    settled = found.settle(config)
    assert round(settled.llm.recomputed_share * 28) == found.blocks
    assert decide(settled, 1.0) is None
    assert ("too little" in str(found)) == (not fitting)
    assert f"recomputes {found.blocks} of 28 blocks: " in str(found)


def test_the_cases_above_reach_none_some_and_all(needed: dict[int, float]) -> None:
    fewest = [min((n for n, b in needed.items() if b <= ROOM * gib * GIB), default=28) for gib in SOME]
    assert fewest == sorted(fewest, reverse=True)
    assert fewest[0] == 28
    assert fewest[-1] == 0
    assert len(set(fewest)) >= 5
    assert needed[1] > needed[0] > needed[2]  # a single block has its activations twice


def test_all_blocks_where_nothing_is_known() -> None:
    found = decide(compose("train", ["model=tiny", *AUTO]), None)
    assert found is not None
    assert (found.blocks, found.room) == (3, None)
    assert str(found).endswith("; what is free is not known here")


@pytest.mark.parametrize(
    "words", [("llm.checkpointing=true",), ("stage=dts_reconstruct", "compressor=dts", *AUTO)]
)
def test_there_may_be_nothing_to_decide(words: tuple[str, ...]) -> None:
    assert decide(compose("train", ["model=tiny", *words]), 1.0) is None


def test_the_rank_with_least_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose("train", ["model=tiny", *AUTO, "trainer=cpu", "strategy=ddp", "trainer.devices=2"])
    monkeypatch.setattr(recomputing, "free_memory", lambda device: 100)
    assert free_for_a_process(config, CPU) == 50
    assert free_for_a_process(config, torch.device("cuda", 1)) == 100
    ranks: list[int | None] = [70, 40]
    monkeypatch.setattr(recomputing, "gathered", lambda own: [own, *ranks])
    assert least_free(config, CPU) == 40
    ranks.append(None)
    assert least_free(config, CPU) is None


def test_it_is_no_part_of_what_a_run_is() -> None:
    fixed = compose("train", ["model=tiny", "llm.checkpointing=true", "name=a"])
    auto = compose("train", ["model=tiny", *AUTO, "name=a"])
    assert config_fingerprint(auto) == config_fingerprint(fixed)
    found = decide(auto, 2**40)
    assert found is not None
    assert found.blocks == 0
    assert config_fingerprint(found.settle(auto)) == config_fingerprint(fixed)
    (change,) = differences(plain(fixed), auto)
    assert (change.key, change.resumable) == ("llm.recomputed", True)


def test_what_it_does_not_go_with() -> None:
    with pytest.raises(ConfigError, match=r"llm\.recomputed=auto decides how many blocks checkpointing rec"):
        compose("train", ["model=tiny", "llm.recomputed=auto", "llm.checkpointing=false"])


def test_dry_runs_and_costs_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("train", ["model=tiny", "trainer=cpu", *AUTO, f"paths.runs={tmp_path}"])
    monkeypatch.setattr(recomputing, "free_memory", lambda device: 2**40)
    kept = preview.preview(config)["activation_bytes"]
    assert "recomputes 0 of 3 blocks: " in " ".join(capsys.readouterr().out.split())
    assert "recomputed: auto" in next(tmp_path.rglob("resolved.yaml")).read_text()
    monkeypatch.setattr(recomputing, "free_memory", lambda device: 2**20)
    assert preview.preview(config)["activation_bytes"] < kept
    assert "recomputes 3 of 3 blocks: " in " ".join(capsys.readouterr().out.split())
    preview.preview_members("both", [("one", config), ("two", config)])
    assert "blocks: recomputes 3 of 3 blocks: " in " ".join(capsys.readouterr().out.split())
    main(["explain", "cost", *FULL, "devices=2", *AUTO, "card=H200"])
    said = " ".join(capsys.readouterr().out.split())
    assert "of 28 blocks: " in said
    assert "of 105 GiB, 75 % of what is free" in said


def trained(place: Path, name: str, free: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Rows of metrics.csv without what a clock measures."""
    monkeypatch.setattr(recomputing, "free_memory", lambda device: free)
    words = ["model=tiny", "trainer=cpu", "logger=csv", *AUTO, f"name={name}", "data.workers=0"]
    words += ["trainer.max_steps=2", "trainer.log_every=1", "data.batch=2", "data.max_tokens=512"]
    words += [f"paths.runs={place}/runs", f"paths.cache={place}/.cache/vxl"]
    train_or_resume(compose("train", words), "")
    return numbers(place / "runs" / name)


@pytest.mark.slow
def test_any_amount_of_memory_trains_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = with_clips(tmp_path)

    def said() -> str:
        return " ".join(capsys.readouterr().out.split())

    def needed(free: int) -> float:
        found = decide(compose("train", words), free)
        assert found is not None
        return found.needed

    words = ["model=tiny", "trainer=cpu", *AUTO, "data.batch=2", "data.max_tokens=512"]
    expected = trained(place, "none", 2**40, monkeypatch)
    assert "recomputes 0 of 3 blocks: " in said()
    assert trained(place, "some", round((2 * needed(2**40) + needed(1)) / 3 / ROOM), monkeypatch) == expected
    assert re.search("recomputes [12] of 3 blocks: ", said())
    assert trained(place, "all", 1, monkeypatch) == expected
    assert "recomputes 3 of 3 blocks: " in said()


@pytest.mark.slow
def test_two_processes_decide_the_same(tmp_path: Path) -> None:
    words = ["model=tiny", "trainer=cpu", "strategy=ddp", "trainer.devices=2", *AUTO, "name=two"]
    words += ["trainer.max_steps=1", "logger=csv", "data.workers=0"]
    said, _ = start("train.py", *words, cwd=with_clips(tmp_path)).communicate(timeout=300)
    assert "recomputes 0 of 3 blocks: " in " ".join(said.split())
    assert (tmp_path / "runs" / "two" / "RESULT.json").is_file()
