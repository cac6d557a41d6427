"""The whole config of each entry script, in the order in which a video flows."""

from vxl.evaluate.config import EvaluateConfig
from vxl.train.config import TrainConfig

SCHEMAS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig}
"""Schema of each config file in conf/."""
