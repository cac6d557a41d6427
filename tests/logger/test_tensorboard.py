"""`logger=tensorboard`: its event files read back by TensorBoard itself."""

import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train import quick_training as fake
from tests.train.quick_training import Config, Paths
from vxl.errors import ConfigError
from vxl.logger.prediction import SIDE, Prediction
from vxl.logger.tensorboard import TensorBoard, TensorBoardConfig
from vxl.option.build import build


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def values(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(name)]


def test_a_training_leaves_its_curves_and_final_numbers(tmp_path: Path) -> None:
    result = fake.train(Config(paths=Paths(runs=str(tmp_path)), logger=TensorBoardConfig(), name="a"))
    assert [step for step, _ in values(tmp_path / "a", "loss")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in values(tmp_path / "a", "val/loss")] == [0, 2, 4, 6]
    assert values(tmp_path / "a", "loss")[-1][1] == pytest.approx(result.loss_last)
    assert values(tmp_path / "a", "final/steps") == [(0, 6.0)]


def test_what_was_logged_after_the_checkpoint_is_purged_on_resume(tmp_path: Path) -> None:
    first = TensorBoard(TensorBoardConfig(), directory=tmp_path)
    for step in (1, 2, 3):
        first.log({"loss": float(step)}, step)
    first.finish(1)
    again = TensorBoard(TensorBoardConfig(), directory=tmp_path)
    for step in (2, 3, 4):
        again.log({"loss": 10.0 * step}, step)
    again.finish(0)
    assert values(tmp_path, "loss") == [(1, 1.0), (2, 20.0), (3, 30.0), (4, 40.0)]


def test_answers_stand_there_with_their_frames_and_settings_as_keys(tmp_path: Path) -> None:
    settings = {"seed": 3, "compressor": {"ratio": 16}}
    sink = TensorBoard(TensorBoardConfig(), directory=tmp_path, settings=settings)
    frames_FCHW = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    sink.table([Prediction("q1", "What?", "A", "B", 0.75, frames_FCHW)], 2)
    sink.facts({"final/loss_last": 0.5, "status": "finished"})
    sink.finish(0)
    found = read(tmp_path)
    (picture,) = found.Images("val/q1")
    assert (picture.step, picture.width, picture.height) == (2, 2 * SIDE, SIDE)
    (text,) = found.Tensors("val/predictions/text_summary")
    assert b"| q1 | A | B | 0.75 |" in text.tensor_proto.string_val[0]
    (event,) = tmp_path.glob("tensorboard/events.*")
    assert b"compressor.ratio" in event.read_bytes()
    assert values(tmp_path, "final/loss_last") == [(0, 0.5)]


def test_without_tensorboard_the_message_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError) as error:
        build(TensorBoardConfig(), directory=tmp_path, name="x")
    assert "pip install tensorboard" in str(error.value)
