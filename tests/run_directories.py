"""A run directory as training leaves it, made without training: a tiny model with random weights."""

import functools
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.distributed import checkpoint as dcp

from vxl.config.compose import compose
from vxl.data.batch.tokenizer import save_tokenizer, train_tokenizer
from vxl.model import build_model
from vxl.option.rebuild import plain
from vxl.train.config import TrainConfig

CLIP = Path(__file__).parents[1] / "examples" / "clips" / "city.mp4"
TEXTS = ["What is shown in the video? A beach, skyscrapers, a forest, a mountain."] * 4


@functools.cache
def _composed(overrides: tuple[str, ...]) -> TrainConfig:
    # Frames and ratio are stated, so that the tests' counts hold whatever `size=tiny` comes to be.
    fixed = ["model=tiny", "logger=csv", "video.max_frames=16", "compressor.ratio=16"]
    return compose("train", [*fixed, *overrides])


def make_run(root: Path, name: str, *overrides: str, steps: tuple[int, ...] = (10, 20)) -> Path:
    """Writes `root/NAME` with one checkpoint a step, each with other weights, and no RESULT.json."""
    with torch.random.fork_rng():
        paths = replace(_composed(overrides).paths, runs=str(root))
        config = replace(_composed(overrides), paths=paths, name=name)
        run = root / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "resolved.yaml").write_text(yaml.safe_dump(plain(config), sort_keys=False))
        (run / "provenance.json").write_text("{}")
        save_tokenizer(train_tokenizer(TEXTS, 300), run / "tokenizer")
        for step in steps:
            model = build_model(config, seed=step)
            folder = run / "checkpoints" / f"step-{step:06d}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dcp.save({"model": model.state_dict()}, checkpoint_id=folder, no_dist=True)
        (run / "checkpoints" / "last").write_text(f"step-{max(steps):06d}\n")
        return run


def finish(run: Path, **result: Any) -> None:
    """Marks a run as finished."""
    (run / "RESULT.json").write_text(json.dumps({"loss_last": 1.0} | result))
