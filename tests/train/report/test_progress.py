"""The line of a training: what it says on a GPU, and of waiting for data where that matters."""

import io
import re
import time

import pytest
from rich.console import Console

from vxl.train.report.meter import StepReport
from vxl.train.report.progress import ProgressBar

NUMBERS = {
    "loss": 1.2345,
    "accuracy": 0.5,
    "tokens_per_s": 12345.6,
    "frames_per_s": 67.8,
    "mfu": 0.412,
    "peak_memory_bytes": 3.25 * 2**30,
}


@pytest.mark.parametrize(("wait", "said"), [(0.01, ""), (0.3, "waits for data 30.0 %  ")])
def test_it_says_what_matters(wait: float, said: str) -> None:
    report = StepReport(4, {**NUMBERS, "data_wait": wait}, on_gpu=True)
    bar = ProgressBar(1, Console())
    bar._began = (2, time.perf_counter() - 60)
    left = "loss 1.234  accuracy 50.0 %  12,346 tokens/s  68 frames/s  MFU 41.2 %  peak 3.25 GiB  "
    assert bar._line(report, 8) == f"{left}{said}ETA 2:00"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_bar_keeps_the_step_and_the_time_left_at_any_width(width: int) -> None:
    screen = io.StringIO()
    bar = ProgressBar(1, Console(file=screen, width=width, force_terminal=True))
    bar.open(2, 400)
    bar._began = (2, time.perf_counter() - 60)
    bar.show(StepReport(4, {**NUMBERS, "data_wait": 0.3}, on_gpu=True), 400)
    bar._stop()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    last = shown.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("step 4/400 ")
    assert re.search(r"loss 1\.234 .*ETA 3:18:00$", last.rstrip()), last
    assert ("waits for data" in last) == (width == 160)
