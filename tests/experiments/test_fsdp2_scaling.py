"""The scaling benchmark: rows as long as they say, every kind of row in miniature, and what was recorded."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vxl.config.compose import compose
from vxl.train.cost import TrainingCost, assumed
from vxl.train.launch.processes import Processes
from vxl.units import GIB

FOLDER = Path(__file__).parents[2] / "experiments" / "050_fsdp2_scaling"
RESULTS = json.loads((FOLDER / "results.json").read_text())


@pytest.fixture(scope="module")
def scaling() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "scaling.py"), run_name="scaling"))


@pytest.mark.parametrize("tokens", [2048, 8192])
def test_rows_hold_the_tokens_that_they_are_asked_for(scaling, tokens):
    config = compose("train", scaling.TRUE)
    first, other = (
        scaling.Rows(config, tokens, accumulate=1, group=Processes(rank=rank, ranks=2)).batches
        for rank in (0, 1)
    )
    for (batch,) in [*first, *other]:
        assert batch.tokens == batch.tokens_BT.numel() == tokens
        assert 0.4 < batch.visual_tokens / tokens < 0.55
        assert batch.frames == batch.visual_tokens // 144 * 4
        assert int(batch.layout.document_BT.max()) == max(1, tokens // 4096) - 1
    assert not (first[0][0].tokens_BT == other[0][0].tokens_BT).all()


def test_processes_that_share_a_row_make_the_same_one_document(scaling):
    words = [*scaling.TRUE, "trainer.devices=4", "strategy=fsdp2", "strategy.context=2", "llm.attention=sdpa"]
    config = compose("train", words)
    rows = [
        scaling.Rows(config, 8192, accumulate=1, group=Processes(rank=rank, ranks=4), whole=True).batches
        for rank in range(4)
    ]
    for steps in rows:
        for (batch,) in steps:
            assert batch.tokens == 8192
            assert int(batch.layout.document_BT.max()) == 0
            assert 0.4 < batch.visual_tokens / batch.tokens < 0.55
    first, neighbour, other, _ = (steps[0][0] for steps in rows)
    assert bool((first.tokens_BT == neighbour.tokens_BT).all())
    assert bool((first.frames_FCHW == neighbour.frames_FCHW).all())
    assert not bool((first.tokens_BT == other.tokens_BT).all())


@pytest.mark.parametrize(
    ("more", "tokens", "asked", "steps"),
    [
        ([], 8192, 30, 30),
        ([], 32768, 30, 7),
        ([], 32768, 10, 4),
        (["context=4"], 131072, 30, 10),  # eight are measured
        (["context=4"], 131072, 80, 20),
        (["context=4"], 131072, 5, 5),
        (["same", "context=4"], 2048, 30, 10),
        (["save"], 8192, 30, 6),
    ],
)
def test_long_rows_have_fewer_steps(scaling, more, tokens, asked, steps):
    assert scaling.steps_of(SimpleNamespace(tiny=False, steps=asked), more, tokens) == steps


def test_rows_without_their_gpus_are_listed_as_not_run_and_what_was_measured_stays(scaling, tmp_path):
    rows, row = tmp_path / "rows.json", "fsdp2/7b/131072/context=4"
    measured = {"row": "fsdp2/7b/8192", "gpus": 2, "steps": 28}
    rows.write_text(json.dumps([measured]))
    names = f"{row},fsdp2/7b/8192"
    scaling.lead(SimpleNamespace(gpus="1", rows=names, as_json=rows, tiny=False, until=None, steps=4))
    listed = json.loads(rows.read_text())
    assert listed[0] == measured
    assert [(one["row"], one["gpus"]) for one in listed[1:]] == [
        ("fsdp2/7b/8192", 4),
        (row, 4),
        ("fsdp2/7b/8192", 8),
    ]
    assert all(one["not_run"] for one in listed[1:])
    assert listed[2]["command"] == f"torchrun --nproc-per-node 4 scaling.py --rows {row}"


@pytest.mark.slow
def test_the_memory_of_long_rows_is_what_the_arithmetic_says(scaling):
    """The table of the README, from the words that the rows run with."""
    said = (FOLDER / "README.md").read_text()
    lines = [line for line in said.splitlines() if re.match(r"\| `(fsdp2|ddp)/7b\S*` \| [0-9,]+ \|", line)]
    assert len(lines) == 4
    for line in lines:
        name, frames, *cells = (cell.strip(" `") for cell in line.strip("|").split("|"))
        strategy, kind, size = name.split("/")
        for context, cell in zip((1, 2, 4), cells, strict=True):
            more = ["trainer.devices=4", f"strategy={strategy}", f"strategy.context={context}"]
            words = [*scaling.ALL, *scaling.MODELS[kind], *more, "llm.attention=sdpa", "data.packing=false"]
            config = compose("train", words)
            under = assumed(config, tokens=int(size), frames=int(frames.replace(",", "")))
            peak = TrainingCost.of(config, under).peak
            assert cell == f"{peak.total / GIB:.1f} GiB ({peak.activations / GIB:.1f})", (name, context)


def test_shares_leave_out_what_is_no_gap_between_kernels(scaling):
    cuda = SimpleNamespace(device_type=scaling.torch.autograd.DeviceType.CUDA)

    def kernel(name: str, start: float, end: float) -> SimpleNamespace:
        return SimpleNamespace(**vars(cuda), name=name, time_range=SimpleNamespace(start=start, end=end))

    found = scaling.shares(
        [
            kernel("gemm", 1000, 1040),
            kernel("ncclDevKernel_AllGather_RING", 1020, 1060),  # half of it beside the product
            kernel("ncclDevKernel_ReduceScatter_Sum", 1080, 1100),
        ]
    )
    assert found["compute_share"] == pytest.approx(0.4)
    assert found["all_gather_share"] == pytest.approx(0.4)
    assert found["reduce_scatter_share"] == pytest.approx(0.2)
    assert found["collectives_alone_share"] == pytest.approx(0.4)
    assert found["idle_share"] == pytest.approx(0.2)
    assert found["longest_gaps_ms"] == [
        [0.02, "ncclDevKernel_AllGather_RING", "ncclDevKernel_ReduceScatter_Sum"]
    ]


@pytest.fixture(scope="module")
def alone(scaling, tmp_path_factory) -> Path:
    """A folder where one process left its numbers and its checkpoint."""
    folder = tmp_path_factory.mktemp("alone")
    asked = {"rows": "single/reduced/2048/same", "steps": 4, "until": None, "tiny": True}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
            patch.setenv(name, value)
        scaling.work(SimpleNamespace(**asked, kept=folder, as_json=folder / "rows.json"))
    return folder


@pytest.mark.slow
def test_equal_numbers_in_miniature(alone):
    """One process leaves its numbers and a checkpoint, and goes on from that."""
    (row,) = json.loads((alone / "rows.json").read_text())
    assert "error" not in row
    assert row["tokens_a_gpu"] == 2 * row["tokens_asked"]  # both micro-batches
    assert len(row["first"]["loss"]) == len(row["resumed"]["loss"]) == 4
    assert row["resumed"]["loss"][0] < row["first"]["loss"][-1]
    assert json.loads((alone / "losses.json").read_text())["first"] == row["first"]


@pytest.mark.slow
def test_two_processes_share_rows_in_miniature(scaling, alone, tmp_path):
    """Every kind of shared row, with the numbers of one process where they are compared."""
    rows, names = tmp_path / "rows.json", scaling.long_rows(2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = ["--rows", ",".join(names), "--tiny", "--kept", str(alone), "--as-json", str(rows)]
    run = subprocess.run(
        [*torchrun, str(FOLDER / "scaling.py"), *flags], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(rows.read_text())
    assert [row["row"] for row in found] == names
    for row in found:
        assert "error" not in row, row["error"]
        assert (row["context"], row["gpus"]) == (2, 2)
    same, updates, full = found
    for part in ("first", "resumed"):
        assert same[f"{part}_loss_difference"] < 1e-5
        assert same[f"{part}_grad_norm_difference"] < 1e-4
    for row in (updates, full):
        assert row["tokens_a_gpu"] * 2 == row["tokens_asked"] == 2048
        assert row["frames_a_gpu"] > 100
        assert row["tflop_a_gpu"] > 0
    assert updates["parameters"] > full["parameters"]  # LoRA's


def test_recorded_rows_held_what_they_were_asked_for():
    measured = [row for row in RESULTS if "steps" in row]
    assert {row["row"].split("/")[0] for row in measured} == {"single", "ddp", "fsdp2", "fsdp2_grad"}
    for row in measured:
        assert "H100" in row["device"]
        rows = row["gpus"] // row.get("context", 1)
        assert row["tokens_a_gpu"] * row["gpus"] in (rows * row["tokens_asked"], 4096)
        reached = row["tflop_a_gpu"] / row["seconds_a_step"] / 989
        assert row["mfu"] == pytest.approx(reached, rel=1e-6)
        assert set(row["nvlink_multicast_off"].values()) == {"0", "1"}
    assert all("scaling.py --rows " in row["command"] for row in RESULTS)
    assert {row["gpus"] for row in RESULTS if row.get("not_run")} == {2, 4, 8}


def test_recorded_numbers_are_those_of_the_readme_and_equal_one_gpus():
    said = (FOLDER / "README.md").read_text()
    for row in RESULTS:
        if row["row"].split("/")[1:3] == ["7b", "8192"] and row.get("steps", 0) >= 8:
            throughput, memory = f"{row['tokens_per_s_a_gpu']:,.0f}", f"{row['peak_memory_gib']:.1f} GiB"
            assert f"| {throughput} |" in said
            assert f"{row['mfu']:.1%}".replace("%", " %") in said
            assert memory in said
    (same,) = [row for row in RESULTS if "resumed_loss_difference" in row]
    assert max(same["first_loss_difference"], same["resumed_loss_difference"]) < 1e-4
    assert max(same["first_grad_norm_difference"], same["resumed_grad_norm_difference"]) < 1e-3


def test_two_gpus_keep_nine_tenths_of_ones_throughput():
    rate = {(row["row"], row["gpus"]): row["tokens_per_s_a_gpu"] for row in RESULTS if "steps" in row}
    for strategy in ("ddp", "fsdp2", "fsdp2_grad"):
        assert rate[f"{strategy}/7b/8192", 2] > 0.9 * rate["single/7b/8192", 1]


@pytest.mark.xfail(reason="36 % are recorded: see the experiment's README for what is left", strict=True)
def test_the_recorded_rows_reach_the_target():
    assert max(row["mfu"] for row in RESULTS if "steps" in row) >= 0.45
