"""The whole config of each entry script, in the order in which a video flows."""

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_SCHEMAS = {"train": "vxl.train.config.TrainConfig", "evaluate": "vxl.evaluate.config.EvaluateConfig"}
"""By the name of its file in conf/."""


def root_schema(name: str) -> type:
    """The schema of `conf/NAME.yaml`. Imports torch, or its stand-ins (vxl.option.stand_ins).

    Args:
        name: `train` or `evaluate`.
    """
    module, _, cls = _SCHEMAS[name].rpartition(".")
    found: Any = getattr(sys.modules.get(module) or _imported(module), cls)
    return found


def _imported(module: str) -> ModuleType:
    collecting = gc.isenabled()
    gc.disable()  # thousands of modules leave no garbage, and to look for it takes a fifth of the time
    try:
        return import_module(module)
    finally:
        if collecting:
            gc.freeze()  # nor is it looked for among them later, when there is some
            gc.enable()


def schemas() -> list[type]:
    """The schemas of training and of evaluation."""
    return [root_schema(name) for name in _SCHEMAS]
