"""The whole config of each entry script, in the order in which a video flows."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from vxl.imported import imported_for_good

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
    with imported_for_good():
        return import_module(module)


def schemas() -> list[type]:
    """The schemas of training and of evaluation."""
    return [root_schema(name) for name in _SCHEMAS]
