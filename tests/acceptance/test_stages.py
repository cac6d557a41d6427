"""Each stage of Video-XL-2 and Video-XL-Pro trains a few steps in miniature: the parts that it names."""

import math
from pathlib import Path

import pytest
import torch

import vxl
from tests.acceptance.runs import result, start, with_clips
from vxl.model import build_model
from vxl.train.step.stage import part_of

ALL = {"vision", "compressor", "projector", "llm"}
STAGES = {
    ("videoxl2", "align"): {"projector"},
    ("videoxl2", "videoxl2_caption"): ALL,
    ("videoxl2", "videoxl2_instruct"): ALL,
    ("videoxl_pro", "videoxl_pro_instruct"): {*ALL, "selector"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stage"), STAGES, ids="-".join)
def test_a_stage_trains_what_it_names(model: str, stage: str, tmp_path: Path) -> None:
    words = [f"model={model}", f"stage={stage}", "size=tiny", "logger=csv", "name=run", "data.batch=2"]
    steps = ["trainer.max_steps=3", "data.held_out=2", "data.workers=0"]
    run = start("train.py", *words, *steps, cwd=with_clips(tmp_path))
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, said
    found = result(tmp_path / "runs" / "run")
    assert found["steps"] == 3
    assert math.isfinite(found["loss_last"])
    loaded = vxl.load("run", runs=tmp_path / "runs", device="cpu")
    before = build_model(loaded.config, vocab_size=len(loaded.tokenizer)).state_dict()
    after = loaded.model.state_dict()
    changed = {part_of(name) for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == STAGES[model, stage]
