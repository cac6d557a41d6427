"""The whole config of each entry script, in the order in which a video flows."""

import gc
from functools import cache


@cache
def schemas() -> dict[str, type]:
    """Schema of each config file in conf/. Imports torch: a wrong key and lists of options do without."""
    collecting = gc.isenabled()
    gc.disable()  # thousands of modules leave no garbage, and to look for it takes a fifth of the time
    try:
        from vxl.evaluate.config import EvaluateConfig  # late: torch takes 2 s, and --help needs none
        from vxl.train.config import TrainConfig
    finally:
        if collecting:
            gc.enable()
    return {"train": TrainConfig, "evaluate": EvaluateConfig}
