import io
import math
import os
from pathlib import Path

import pytest
import torch
from rich.console import Console

from vxl.evaluate.cost import PeakMemory, summarise
from vxl.evaluate.screen import cost_table
from vxl.evaluate.work.answers import RawAnswer

UNITS = ("ms", "s", "B", "MiB", "GiB", "tokens/s")
CPU = torch.device("cpu")


def answer(failed: str | None = None, **changes: float) -> RawAnswer:
    cost = {
        "watch_ms": 500.0,
        "video_ms": 500.0,
        "video_prefill_ms": 8.0,
        "question_ms": 2.0,
        "new_tokens": 3,
        "decode_ms": 20.0,
        "cache_bytes": 100,
        "visual_tokens": 8,
        "frames": 16,
        "peak_bytes": 7,
        "flops": 1e6,
    }
    return RawAnswer(key="k", text="B", cost=cost | changes, failed=failed)


def test_medians_and_the_rate_over_all_tokens() -> None:
    answers = [
        answer(question_ms=1.0),
        answer(question_ms=2.0, new_tokens=11, decode_ms=30.0),
        answer(question_ms=90.0, watch_ms=0.0, peak_bytes=9),
        answer(failed="out of memory"),
    ]
    found = summarise(answers, "process")
    assert found.questions == 3
    assert found.prefill_ms == 10.0
    assert found.first_token_ms == 502.0
    # The first token comes out of the prefill, so it is no decoded one: 2 + 10 + 2 tokens in 70 ms.
    assert math.isclose(found.decode_tokens_per_s, 14 / 0.070)
    assert found.cache_bytes == 100
    assert found.peak_memory_bytes == 9
    assert math.isclose(found.seconds, (1000 + 93 + 70) / 1000)


def test_the_readme_shows_costs_as_the_screen_does_at_80_columns() -> None:
    """Every line of its table, with the numbers that are there now."""
    console = Console(file=io.StringIO(), width=80)
    cost_table(summarise([answer()], "process")).show(console)
    words = [line.split() for line in console.file.getvalue().splitlines() if line.strip()]
    readme = (Path(__file__).parents[2] / "README.md").read_text().partition("cost of a question (median)")[2]
    shown = [line.split() for line in readme.partition("letters answered")[0].splitlines() if line.strip()]
    names = [[word for word in line if word[0].isalpha() and word not in UNITS] for line in words[1:]]
    assert [[w for w in line if w[0].isalpha() and w not in UNITS] for line in shown] == names


def test_answers_of_one_token_have_no_rate() -> None:
    found = summarise([answer(new_tokens=1, decode_ms=0.0)], "process")
    assert math.isnan(found.decode_tokens_per_s)
    assert found.plain()["decode_tokens_per_s"] is None


def test_peak_memory_sees_what_was_freed_again() -> None:
    size = 200 * 2**20
    with PeakMemory(CPU) as loud:
        block = torch.ones(size, dtype=torch.uint8)
        del block
    assert loud.of == "process"
    assert loud.bytes > size
    with PeakMemory(CPU) as quiet:
        pass
    if os.access("/proc/self/clear_refs", os.W_OK):  # then the mark is this block's, not the process's
        assert loud.bytes - quiet.bytes > 0.9 * size


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_of_the_gpu() -> None:
    with PeakMemory(torch.device("cuda")) as memory:
        torch.ones(2**20, dtype=torch.uint8, device="cuda")
    assert memory.of == "cuda"
    assert memory.bytes >= 2**20
