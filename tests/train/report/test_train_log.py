"""Messages on the screen: sentences break between words, a command at the end of a line never does."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from vxl.train.report.train_log import logged_to

COMMAND = "wandb sync runs/a-rather-long-name/ratio=16/wandb/offline-run-*"


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (80, True), (160, True), (80, False)])
def test_a_command_is_printed_whole(tmp_path: Path, width: int, terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=terminal, color_system=None)
    sentence = "the samples are not those that this run began with: it goes on at row 3 of others"
    with logged_to(tmp_path / "train.log", console, first=True):
        log = logging.getLogger("vxl.test")
        log.info("W&B is offline; to send this run:  %s", COMMAND)
        log.warning("%s", sentence)
    lines = screen.getvalue().splitlines()
    assert [line for line in lines if COMMAND in line] == [
        f"W&B is offline; to send this run:  {COMMAND}" if width == 160 else f"  {COMMAND}"
    ]
    prose = [line for line in lines if COMMAND not in line and "W&B" not in line]
    assert " ".join(line.strip() for line in prose) == sentence
    assert len(prose) == (2 if terminal and width < 160 else 1)
    assert not any(line.endswith("  ") for line in lines)
    assert COMMAND in (tmp_path / "train.log").read_text()
