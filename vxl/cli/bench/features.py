"""What a training step costs with and without kept features of its frozen tower."""

import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vxl.config.compose import compose
from vxl.model import build_model
from vxl.train.step.data_module import DataModule
from vxl.train.step.optimizer import build_optimizer
from vxl.train.step.stage import freeze, train_mode
from vxl.units import MIB
from vxl.vision.feature_cache import features_kept

SMALL = ("vision=dinov2_s", "vision.weights=random", "llm=smollm2_135m", "llm.weights=random")
MODELS = {"tiny": ("model=tiny", "stage=align"), "small, random weights": ("model=small", *SMALL)}
"""Random weights take as long as pretrained ones."""


@dataclass(frozen=True)
class FeaturesRow:
    """A step of a model: forward and backward pass and update, of batches that are there."""

    model: str
    case: str
    steps: int
    frames_a_step: float
    ms_a_step: float
    """Of a core, without waiting for a disk."""
    clock_ms: float
    """By the clock."""
    mib_on_disk: float


def kept_features(cache: Path, *, steps: int = 4, models: Sequence[str] = tuple(MODELS)) -> list[FeaturesRow]:
    """Without a cache of features, while it is filled, and filled; the losses have to agree."""
    rows = []
    for name in models:
        words = ["logger=csv", "trainer=cpu", "data.workers=0", *MODELS[name]]
        config = compose("train", [*words, f"paths.cache={cache}"])
        data = DataModule(config, rank=0, ranks=1)
        data.prepare_data()
        batches = [*itertools.chain(*itertools.islice(data.train_dataloader(), steps))][:steps]
        first: list[float] = []
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            for case, what in (("without", "none"), ("cold", "features"), ("warm", "features")):
                model = build_model(config, vocab_size=len(data.tokenizer))
                freeze(model, config.stage)
                train_mode(model, config.stage)
                optimizer = build_optimizer(model, config.stage, config.optim)
                losses = []
                with features_kept(what, f"{folder}/first", 20.0):  # what only a first pass does
                    model(batches[0]).loss_sum.backward()
                    model.zero_grad()
                torch.manual_seed(0)
                with features_kept(what, folder, 20.0):
                    core, clock = time.process_time(), time.perf_counter()
                    for batch in batches:
                        loss = model(batch).loss_sum
                        loss.backward()
                        optimizer.step()
                        optimizer.zero_grad()
                        losses.append(loss.item())
                    core, clock = time.process_time() - core, time.perf_counter() - clock
                first = first or losses
                assert losses == first, f"{name}, {case}: the losses differ"
                size = sum(entry.stat().st_size for entry in Path(folder, "features").rglob("*.features"))
                frames = sum(batch.frames for batch in batches) / steps
                each = (1000 * core / steps, 1000 * clock / steps)
                rows.append(FeaturesRow(name, case, steps, frames, *each, size / MIB))
    return rows
