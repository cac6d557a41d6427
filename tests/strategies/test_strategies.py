"""Every strategy is one process in other words: numbers, checkpoints, loading; in one pool of processes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.strategies import cases
from tests.strategies.pool import Pool
from vxl.checkpoint.step_folder import step_folders
from vxl.train.saving.retention import RetentionConfig

STEPS = 20
CLOSE = 1e-6
HALF = {"max_steps": 4}
# Strategy that saves and its processes, strategy that goes on and its processes.
PAIRS = [
    ("single", 1, "fsdp2", 2),
    ("ddp", 2, "fsdp2", 4),
    ("fsdp2", 2, "single", 1),
    ("fsdp2", 4, "ddp", 2),
    ("fsdp2_grad", 2, "hsdp", 4),
    ("hsdp", 4, "fsdp2", 2),
]
BEHIND = RetentionConfig(every=1, keep_last=2, best=None, background=True)
GRID = [
    (saves, ranks, resumes, others)
    for saves, ranks in (("single", 1), ("ddp", 2), ("fsdp2", 2), ("fsdp2_grad", 2), ("hsdp", 4))
    for resumes, others in (("single", 1), ("ddp", 4), ("fsdp2", 4), ("fsdp2_grad", 4), ("hsdp", 4))
]


@pytest.fixture(scope="module")
def alone(pool, tmp_path_factory) -> dict[str, Any]:
    """One process: 20 steps; 4 steps of the mix; 4 and then 4 more."""
    folder = str(tmp_path_factory.mktemp("alone"))
    return {
        "20": pool.run(1, cases.train, folder, {"name": "long"})[0],
        "mix": pool.run(1, cases.train, folder, {"name": "mix", "trainer": HALF}, True)[0],
        "8": pool.run(1, cases.train, folder, {"name": "whole", "trainer": {"max_steps": 8}})[0],
    }


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", 2), ("fsdp2", 2), ("hsdp", 4)])
def test_twenty_steps_are_those_of_one_process(pool, alone, tmp_path, strategy, ranks):
    run = {"name": "several", "strategy": strategy, "ranks": ranks}
    found = cases.difference(pool.run(ranks, cases.train, str(tmp_path), run)[0], alone["20"])
    assert len(alone["20"]["loss"]) == STEPS
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "hsdp"])
def test_a_long_video_a_short_one_an_image_and_text_alone(pool, alone, tmp_path, strategy):
    run = {"name": "mix", "strategy": strategy, "ranks": 4, "trainer": HALF}
    found = cases.difference(pool.run(4, cases.train, str(tmp_path), run, True)[0], alone["mix"])
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
@pytest.mark.parametrize(("saves", "ranks", "resumes", "others"), PAIRS)
def test_a_run_goes_on_under_another_strategy(pool, alone, tmp_path, saves, ranks, resumes, others):
    found = resumed(pool, alone["8"], tmp_path, saves, ranks, resumes, others)
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saves", "ranks", "resumes", "others"), [("fsdp2", 2, "ddp", 2), ("offload", 2, "hsdp", 4)]
)
def test_muon_is_one_process_and_goes_on(pool, tmp_path, saves, ranks, resumes, others):
    """Matrices are orthogonalised whole: sharded ones, too, and those that are kept on the CPU."""
    run = {"name": "whole", "optim": cases.MUON, "trainer": {"max_steps": 8}}
    whole = pool.run(1, cases.train, str(tmp_path), run)[0]
    found = resumed(pool, whole, tmp_path, saves, ranks, resumes, others, optim=cases.MUON)
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
def test_adamw_8bit_goes_on_in_two_processes_with_the_same_bits(pool, tmp_path):
    pytest.importorskip("torchao")
    run = {"strategy": "ddp", "ranks": 2, "optim": cases.ADAMW_8BIT, "stage": cases.TOWER_ALONE}
    seen = {}
    for name, steps in (("whole", 4), ("cut", 2), ("cut", 4)):
        arguments = run | {"name": name, "trainer": {"max_steps": steps, "precision": "32-true"}}
        one, other = pool.run(2, cases.train, str(tmp_path), arguments)
        seen[name] = one
        assert all(torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"])
    assert seen["cut"]["loss"] == seen["whole"]["loss"]
    assert max(cases.difference(seen["cut"], seen["whole"]).values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_muon_cuts_a_matrix_where_it_was_cut(pool, ranks):
    """Seven rows: the last process has fewer, and of four it has one."""
    (whole,) = pool.run(1, cases.uneven_by_muon, 1)
    for found in pool.run(ranks, cases.uneven_by_muon, ranks):
        assert torch.equal(found, whole)


@pytest.mark.slow
def test_a_run_goes_on_from_what_was_written_in_the_background(pool, alone, tmp_path):
    """A checkpoint a step, each written while the next step runs."""
    found = resumed(pool, alone["8"], tmp_path, "fsdp2", 2, "ddp", 2, checkpoint=BEHIND)
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
def test_a_full_disk_of_one_process_ends_all_of_them(pool, tmp_path):
    """In the background, too, and the checkpoint before is whole."""
    run = {"name": "full", "strategy": "fsdp2", "ranks": 2, "trainer": HALF, "checkpoint": BEHIND}
    for said in pool.run(2, cases.train_on_a_full_disk, str(tmp_path), run):
        assert "step-000004 can't be written: the disk is full" in said
        assert "the checkpoint of step 3 is whole" in said
    assert [folder.step for folder in step_folders(tmp_path / "full")] == [2, 3]


@pytest.mark.slow
def test_weights_in_safetensors_are_read_in_parts(pool, tmp_path):
    apart, together = pool.run(2, cases.loaded, str(tmp_path), True), pool.run(1, cases.loaded, str(tmp_path))
    assert apart[0] == apart[1] == together[0]


@pytest.mark.slow
def test_memory_saved_costs_no_numbers(pool, tmp_path):
    """Tied embeddings, recomputed blocks, frozen parts and weights kept on the CPU."""
    for name, ranks in (("one", 1), ("two", 2)):
        run = {"name": name, "ranks": ranks, "trainer": HALF, "lean": ranks > 1}
        result = pool.run(ranks, cases.train_lean, str(tmp_path), run)[0]
        if ranks == 1:
            expected = result
    found = cases.difference(result, expected)
    assert max(found.values()) < CLOSE, found


@pytest.mark.slow
def test_bf16_gathers_in_bf16_and_sums_in_fp32(pool, tmp_path):
    one = pool.run(1, cases.train_in_bf16, str(tmp_path), {"name": "one"})[0]
    two = {"name": "two", "strategy": "fsdp2", "ranks": 2}
    found = pool.run(2, cases.train_in_bf16, str(tmp_path), two)[0]
    assert (found["compute"], found["reduce"]) == (torch.bfloat16, torch.float32)
    differences = cases.difference(found, one)
    assert max(differences["loss"], differences["grad_norm"]) < 2**-8


@pytest.mark.grid
def test_the_whole_grid(pool, alone, tmp_path):
    """All pairs of strategies; the largest differences go into a file where VXL_GRID names one."""
    rows = []
    for number, pair in enumerate(GRID):
        found = resumed(pool, alone["8"], tmp_path / str(number), *pair)
        saves, ranks, resumes, others = pair
        rows.append({"saves": saves, "ranks": ranks, "resumes": resumes, "other_ranks": others, **found})
        print(rows[-1], flush=True)
    largest = {name: max(row[name] for row in rows) for name in ("loss", "grad_norm", "weights")}
    if "VXL_GRID" in os.environ:
        text = json.dumps({"largest": largest, "pairs": rows}, indent=1) + "\n"
        Path(os.environ["VXL_GRID"]).write_text(text)
    assert max(largest.values()) < CLOSE, largest


def resumed(
    pool: Pool,
    whole: dict[str, Any],
    folder: Path,
    saves: str,
    ranks: int,
    resumes: str,
    others: int,
    **changes: Any,
) -> dict[str, float]:
    """The differences of 4 steps under one strategy and 4 under another from 8 in one process."""
    first = {"name": "run", "strategy": saves, "ranks": ranks, "trainer": HALF} | changes
    then = {"name": "run", "strategy": resumes, "ranks": others, "trainer": {"max_steps": 8}} | changes
    pool.run(ranks, cases.train, str(folder), first)
    return cases.difference(pool.run(others, cases.train, str(folder), then)[0], whole)
