"""The config of a training of the small model, of the real dataclasses."""

from typing import Any

from tests.small_model import PARTS
from vxl.data.clips import ClipsConfig
from vxl.logger.csv import CsvConfig
from vxl.parts import ModelParts
from vxl.run.config import DebugConfig
from vxl.train.config import TrainConfig
from vxl.train.parallel.strategy import SingleConfig
from vxl.train.saving.retention import RetentionConfig
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import StageConfig
from vxl.train.trainer import TrainerConfig


def train_settings(parts: ModelParts = PARTS, **changes: Any) -> TrainConfig:
    """A training of the model: everything as the dataclasses have it, but for what is named."""
    rest: dict[str, Any] = {
        "data": ClipsConfig(),
        "stage": StageConfig(),
        "optim": OptimConfig(),
        "trainer": TrainerConfig(accelerator="cpu", precision="32-true"),
        "strategy": SingleConfig(),
        "checkpoint": RetentionConfig(),
        "logger": CsvConfig(),
        "debug": DebugConfig(),
    }
    return TrainConfig(**(vars(parts) | rest | changes))
