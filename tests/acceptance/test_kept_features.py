"""Members of a sweep that share the features of their tower train and answer as those that keep none."""

import csv
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.acceptance.scripts import MEASURED, with_clips
from vxl.checkpoint.step_folder import choose_step
from vxl.config.command import run_command
from vxl.config.compose import compose
from vxl.evaluate.run import run_evaluation
from vxl.train.run import train_or_resume
from vxl.vision.siglip import Siglip

RATIOS = (4, 16)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Called, it says how many frames towers encoded since the last call."""
    count = 0
    encode = Siglip.encode

    def counted(tower: Siglip, pixels_FCHW: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += len(pixels_FCHW)
        return encode(tower, pixels_FCHW)

    def since() -> int:
        nonlocal count
        found, count = count, 0
        return found

    monkeypatch.setattr(Siglip, "encode", counted)
    return since


def trained(place: Path, name: str, ratio: int, cache: str) -> tuple[list[dict[str, str]], dict]:
    """Rows of metrics.csv without what a clock measures, and the weights."""
    words = ["model=tiny", "stage=align", "trainer=cpu", "logger=csv", f"name={name}", "data.batch=3"]
    words += ["trainer.max_steps=3", "trainer.log_every=1", "trainer.val_every=3", "data.held_out=4"]
    # Unsorted: members of other lengths would see other samples in their first steps.
    words += [f"compressor.ratio={ratio}", f"data.cache={cache}", "data.workers=1", "data.bucket=1"]
    words += [f"paths.runs={place}/runs", f"paths.cache={place}/.cache/vxl"]
    train_or_resume(compose("train", words), "")
    folder = choose_step(place / "runs" / name, "last")
    weights = {key: torch.empty(like.shape, dtype=like.dtype) for key, like in folder.outline().items()}
    folder.read_into(weights)
    with (place / "runs" / name / "metrics.csv").open() as lines:
        rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(lines)]
    return rows, weights


def answered(place: Path, name: str, *words: str) -> list[str]:
    """The raw answers of an evaluation."""
    out = Path(tempfile.mkdtemp(dir=place))
    places = [f"paths.runs={place}/runs", f"paths.cache={place}/.cache/vxl", f"output={out}"]
    asked = [f"run={name}", "benchmark=clips", "device=cpu", "limit=6", "max_new_tokens=4"]
    assert run_command("evaluate", lambda config, _: run_evaluation(config), [*asked, *words, *places]) == 0
    lines = [line for file in sorted(out.rglob("*.jsonl")) for line in file.read_text().splitlines()]
    texts = sorted(answer["text"] for answer in map(json.loads, lines) if "text" in answer)
    assert len(texts) == 6
    return texts


@pytest.mark.slow
def test_members_that_share_features_train_and_answer_as_without(
    tmp_path: Path, encoded: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    place = with_clips(tmp_path)
    without = {ratio: trained(place, f"without{ratio}", ratio, "none") for ratio in RATIOS}
    assert encoded() > 100
    for ratio, turn in ((4, "cold"), (4, "warm"), (16, "other")):
        rows, weights = trained(place, f"{turn}{ratio}", ratio, "features")
        assert rows == without[ratio][0], turn
        assert weights.keys() == without[ratio][1].keys()
        assert all(torch.equal(value, without[ratio][1][key]) for key, value in weights.items()), turn
        assert (encoded() > 20) == (turn == "cold"), turn
    expected = answered(place, "cold4", "cache=none", "kv=snapkv")
    assert encoded() > 0
    assert answered(place, "cold4", "kv=snapkv") == expected  # as the run was trained: features
    encoded()
    assert answered(place, "cold4", "cache=features", "kv=snapkv") == expected
    assert encoded() <= 1
