"""The DTS by reconstruction, as a user trains it, and the next stage on its weights."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.acceptance.forked import typed
from tests.acceptance.scripts import numbers, result
from tests.data.media import image, talk, video
from vxl.checkpoint.step_folder import choose_step
from vxl.config.compose import compose
from vxl.train.run import train_or_resume

SHORT = ["size=tiny", "logger=csv", "data.workers=0", "data.batch=4", "data=json"]


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Videos and images of one's own, and the words that name them."""
    for frames in (5, 8):
        (tmp_path / f"{frames}.mp4").write_bytes(video(frames))
    (tmp_path / "p.jpg").write_bytes(image())
    items = [{"id": str(n), "video": f"{(5, 8)[n % 2]}.mp4", **talk()} for n in range(4)]
    items += [{"id": f"image{n}", "image": "p.jpg", **talk()} for n in range(4)]
    (tmp_path / "all.json").write_text(json.dumps(items))
    return [f"data.json={tmp_path}/all.json", f"data.val={tmp_path}/all.json", f"data.videos={tmp_path}"]


def tensors(run: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a run's last checkpoint whose names begin like this."""
    folder = choose_step(run, "last")
    found = {
        name: torch.empty(like.shape, dtype=like.dtype)
        for name, like in folder.outline().items()
        if name.startswith(prefix)
    }
    folder.read_into(found)
    return found


@pytest.mark.slow
def test_the_next_stage_starts_from_what_was_reconstructed_with(tmp_path: Path, own: list[str]) -> None:
    words = ["model=videoxl_pro", *SHORT, *own, "name=dts", "stage=dts_reconstruct", "trainer.max_steps=8"]
    status, said = typed("train.py", *words, "trainer.log_every=5", cwd=tmp_path)
    assert status == 0, said
    assert "next:  vxl train model=videoxl_pro init_from=dts stage=align" in said
    dts = tmp_path / "runs" / "dts"
    assert not tensors(dts, "model.llm.")
    assert not tensors(dts, "model.compressor.projector.")
    found = result(dts)
    assert found["heldout_loss"] < found["heldout_loss_first"]
    assert found["heldout_baseline"] > 0
    assert found["heldout_accuracy"] is None
    assert {row["grad_norm/compressor"] == "" for row in numbers(dts)} == {True, False}

    words = ["model=videoxl_pro", *SHORT, *own, "name=align", "stage=align", "trainer.max_steps=1"]
    place = [f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/.cache/vxl"]
    aligned = train_or_resume(compose("train", [*words, f"init_from={dts}", *place]), "")
    assert aligned.loss_last is not None
    assert math.isfinite(aligned.loss_last)
    network = tensors(dts, "model.compressor.dts.")
    after = tensors(tmp_path / "runs" / "align", "model.compressor.dts.")
    assert network.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in network.items())
    report = (tmp_path / "runs" / "align" / "train.log").read_text()
    assert f"warm start from {choose_step(dts, 'last').path}" in report
    assert "new: compressor.projector.0.weight" in report
    assert "ignored: compressor.mask_token" in report
