"""What a training says before it begins, in terminals of every width."""

import io
import re
from pathlib import Path

import pytest
import torch

from vxl.config.compose import compose
from vxl.errors import ConfigError, VxlError
from vxl.option.rebuild import plain
from vxl.run.directory import write_resolved
from vxl.terminal.screen import Screen
from vxl.train.report.opening import open_training, refuse_absent


def opened(width: int, resumed: bool, *words: str, room: int | None = None) -> list[str]:
    console = Screen(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    config = compose("train", ["model=tiny", *words])
    decided = open_training(config, torch.device("cpu"), room, console, resumed)
    assert (decided is None) == ("llm.recomputed=auto" not in words)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_lines_end_between_words_and_never_between_a_number_and_its_unit(width: int) -> None:
    lines = opened(width, resumed=False)
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line.endswith(" ") or re.match(r"(GiB|rows|tokens)", line)]
    assert "weights: random: vision, compressor, projector" in " ".join(lines)


def test_it_says_how_many_blocks_are_recomputed() -> None:
    auto = ("llm.checkpointing=true", "llm.recomputed=auto")
    said = " ".join(opened(100, False, *auto, room=2**40))
    assert "memory: recomputes 0 of 3 blocks: " in said
    assert " of 768 GiB, 75 % of what is free" in said
    assert "recomputes" not in " ".join(opened(100, False))


def test_a_run_that_goes_on_is_not_called_random() -> None:
    assert not any(line.startswith("weights:") for line in opened(100, resumed=True))


def test_a_card_that_is_not_there_is_missed_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_card = ("video.decoder=torchcodec", "video.device=cuda", "data.workers=0")
    with pytest.raises(ConfigError, match=r"video\.device=cuda: torch .* finds no CUDA card here"):
        refuse_absent(compose("train", [*on_card]), torch.device("cpu"))


@pytest.mark.parametrize("start", ["weights=nowhere", "init_from=nowhere"])
def test_weights_that_are_not_there_are_missed_before_a_new_run_has_a_directory(
    start: str, tmp_path: Path
) -> None:
    config = compose("train", [start, f"paths.runs={tmp_path / 'runs'}", "name=made"])
    with pytest.raises(VxlError, match="nowhere"):
        refuse_absent(config, torch.device("cpu"))
    assert not (tmp_path / "runs").exists()
    write_resolved(tmp_path / "runs" / "made", plain(config))
    (tmp_path / "runs" / "made" / "checkpoints" / "step-000001").mkdir(parents=True)
    refuse_absent(config, torch.device("cpu"))  # a checkpoint fills the model
