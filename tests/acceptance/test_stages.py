"""Each stage of Video-XL-2 and Video-XL-Pro trains a few steps in miniature: the parts that it names."""

import math
from pathlib import Path

import pytest
import torch

import vxl
from tests.acceptance.scripts import with_clips
from vxl.config.compose import compose
from vxl.model import build_model
from vxl.train.run import train_or_resume
from vxl.train.step.stage import part_of

ALL = {"vision", "compressor", "projector", "llm"}
STAGES = {
    ("videoxl2", "align"): {"projector"},
    ("videoxl2", "videoxl2_caption"): ALL,
    ("videoxl2", "videoxl2_instruct"): ALL,
    ("videoxl_pro", "videoxl_pro_instruct"): {*ALL, "selector"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stage"), STAGES, ids=["-".join(pair) for pair in STAGES])
def test_a_stage_trains_what_it_names(model: str, stage: str, tmp_path: Path) -> None:
    words = [f"model={model}", f"stage={stage}", "size=tiny", "logger=csv", "name=run", "data.batch=2"]
    steps = ["trainer.max_steps=3", "data.held_out=2", "data.workers=0"]
    places = [f"paths.runs={tmp_path}/runs", f"paths.cache={with_clips(tmp_path)}/.cache/vxl"]
    result = train_or_resume(compose("train", [*words, *steps, *places]), "")
    assert result.steps == 3
    assert result.loss_last is not None
    assert math.isfinite(result.loss_last)
    loaded = vxl.load("run", runs=tmp_path / "runs", device="cpu")
    before = build_model(loaded.config, vocab_size=len(loaded.tokenizer)).state_dict()
    after = loaded.model.state_dict()
    changed = {part_of(name) for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == STAGES[model, stage]
