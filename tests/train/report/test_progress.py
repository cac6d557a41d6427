"""The line of a training: what it says on a GPU, and that waiting for data is told where it matters."""

import time
from typing import Any, cast

import pytest
from rich.console import Console

from vxl.train.report.progress import ProgressBar
from vxl.train.report.watch import Watch

NUMBERS = {
    "loss": 1.2345,
    "accuracy": 0.5,
    "tokens_per_s": 12345.6,
    "frames_per_s": 67.8,
    "mfu": 0.412,
    "peak_memory_bytes": 3.25 * 2**30,
}


@pytest.mark.parametrize(("wait", "said"), [(0.01, ""), (0.3, "waits for data 30%  ")])
def test_it_says_what_matters(wait: float, said: str) -> None:
    watch = Watch(cast(Any, None), cast(Any, None), 1, None)
    watch.numbers, watch.on_gpu = {**NUMBERS, "data_wait": wait}, True
    bar = ProgressBar(watch, 1, Console())
    bar._began = (2, time.perf_counter() - 60)
    left = "loss 1.234  accuracy 0.50  12,346 tokens/s  68 frames/s  MFU 41.2%  peak 3.2 GiB  "
    assert bar._line(4, 8) == f"{left}{said}ETA 2:00"
