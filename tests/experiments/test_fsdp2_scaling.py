"""The scaling benchmark: rows as long as they say, every kind of row in miniature, and what was recorded."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from vxl.config.compose import compose
from vxl.train.launch.processes import Processes

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


@pytest.mark.slow
def test_equal_numbers_in_miniature(scaling, tmp_path, monkeypatch):
    """One process leaves its numbers and a checkpoint, and goes on from that."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    rows = tmp_path / "rows.json"
    asked = SimpleNamespace(
        rows="single/reduced/2048/same", steps=4, until=None, tiny=True, kept=tmp_path, as_json=rows
    )
    scaling.work(asked)
    (row,) = json.loads(rows.read_text())
    assert "error" not in row
    assert row["tokens_a_gpu"] == 2 * row["tokens_asked"]  # both micro-batches
    assert len(row["first"]["loss"]) == len(row["resumed"]["loss"]) == 4
    assert row["resumed"]["loss"][0] < row["first"]["loss"][-1]
    assert json.loads((tmp_path / "losses.json").read_text())["first"] == row["first"]


def test_recorded_rows_held_what_they_were_asked_for():
    measured = [row for row in RESULTS if "steps" in row]
    assert {row["row"].split("/")[0] for row in measured} == {"single", "ddp", "fsdp2", "fsdp2_grad"}
    for row in measured:
        assert "H100" in row["device"]
        assert row["tokens_a_gpu"] * row["gpus"] in (row["gpus"] * row["tokens_asked"], 4096)
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
