"""Held-out questions with their frames and answers: what is taken from a batch, and what is left on disk."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests import small_model as small
from tests.run.test_changes import changed
from tests.train import quick_training as fake
from tests.train.test_run import path_of
from vxl.data.batch.collate import Example, collate
from vxl.data.sample import Question
from vxl.logger.prediction import SIDE, strip
from vxl.logger.wandb import Wandb, WandbConfig
from vxl.train.report.predictions import predictions, write_predictions

LETTERS = (30, 31, 32, 33)


class Words:
    def decode(self, tokens, skip_special_tokens):
        assert skip_special_tokens
        return " ".join(map(str, tokens))


def asked(*items, key, answer, seed):
    """A question with four options, whose answer's letter is the first supervised token."""
    example = small.example(*items, answer=(LETTERS["ABCD".index(answer)], 12), seed=seed)
    example.encoded.answer_at = len(example.encoded) - 2
    example.encoded.question[-4:-2] = [True, True]
    question = Question("What?", ("a", "b", "c", "d"), answer)
    return Example(example.encoded, example.frames_FCHW, key, question, LETTERS)


@pytest.fixture(scope="module")
def packed():
    first = asked(small.video(2), small.IMAGE, key="one", answer="B", seed=1)
    second = asked(small.video(1), key="two", answer="D", seed=2)
    third = asked(small.video(3), key="three", answer="A", seed=3)
    batch = collate([[first], [second, third]], pad=0)
    logits_QV = torch.zeros(3, 97)
    logits_QV[torch.arange(3), torch.tensor([31, 30, 30])] = 3.0
    found = predictions(batch, SimpleNamespace(logits_QV=logits_QV), Words(), most=9)
    return (first, second, third), found


def test_each_question_has_its_own_words_frames_and_answers(packed):
    examples, found = packed
    assert [(p.key, p.answer, p.right, p.correct) for p in found] == [
        ("one", "B", "B", True),
        ("two", "A", "D", False),
        ("three", "A", "A", True),
    ]
    assert {p.question for p in found} == {"5 6"}
    assert found[0].probability == pytest.approx(torch.tensor([3.0, 0, 0, 0]).softmax(0)[0].item())
    for example, prediction in zip(examples, found, strict=True):
        frames = example.frames_FCHW
        assert torch.equal(prediction.frames_FCHW[0], frames[0])
        assert torch.equal(prediction.frames_FCHW[-1], frames[-1])
        assert len(prediction.frames_FCHW) == 4


def test_a_strip_shows_frames_side_by_side():
    frames_FCHW = torch.stack([torch.full((3, 56, 56), 10 * i, dtype=torch.uint8) for i in range(3)])
    picture_HWC = strip(frames_FCHW)
    assert picture_HWC.shape == (SIDE, 3 * SIDE, 3)
    assert picture_HWC[0, ::SIDE, 0].tolist() == [0, 10, 20]


def test_frames_are_written_once_as_pictures(packed, tmp_path):
    for step in (0, 5):
        write_predictions(tmp_path, step, packed[1])
    with Image.open(tmp_path / "frames" / "two.png") as picture:
        assert picture.size == (4 * SIDE, SIDE)
    assert len(list((tmp_path / "frames").iterdir())) == 3
    assert json.loads((tmp_path / "step-000005.json").read_text())[1]["right"] == "D"


def test_a_run_leaves_predictions_at_every_validation(tmp_path):
    config = fake.Config(paths=fake.Paths(runs=str(tmp_path)), name="first")
    config = changed(config, trainer={"show": 3})
    fake.train(config)
    folder = path_of(config) / "predictions"
    assert sorted(file.name for file in folder.glob("*.json")) == [
        f"step-00000{n}.json" for n in (0, 2, 4, 6)
    ]
    rows = json.loads((folder / "step-000006.json").read_text())
    assert [row["key"] for row in rows] == ["0", "8", "16"]  # of 32, in four batches
    assert {
        row["answer"] in "ABCD" and row["correct"] == (row["answer"] == row["right"]) for row in rows
    } == {True}


def test_numbers_of_every_part_are_logged(tmp_path):
    config = fake.Config(paths=fake.Paths(runs=str(tmp_path)), name="first")
    fake.train(config)
    with (path_of(config) / "metrics.csv").open() as lines:
        row = [row for row in csv.DictReader(lines) if row["loss"]][-1]
    # The fake model's selector is never used, so it has no gradient.
    parts = ["vision", "compressor", "projector", "llm", "selector"]
    norms = [float(row[f"grad_norm/{part}"]) for part in parts]
    assert norms[-1] == 0
    assert all(norm > 0 for norm in norms[:-1])
    assert sum(norm**2 for norm in norms) ** 0.5 == pytest.approx(float(row["grad_norm"]), rel=1e-5)
    assert {f"lr/{part}" for part in parts} <= row.keys()
    for name in ("tokens_per_s", "frames_per_s", "data_wait", "peak_memory_bytes"):
        assert float(row[name]) >= 0
    assert float(row["visual_tokens_a_sample"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_itself")
def test_an_offline_wandb_run_holds_the_table_and_its_pictures(packed, tmp_path):
    sink = Wandb(WandbConfig(mode="offline"), directory=tmp_path, name="first")
    sink.table(packed[1], 4)
    sink.finish(0)
    (media,) = (tmp_path / "wandb").glob("offline-run-*/files/media")
    (table,) = media.rglob("predictions_*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:4] == ["step", "key", "frames", "question"]
    assert [row[1] for row in content["data"]] == ["one", "two", "three"]
    assert len(list(media.rglob("*.png"))) == 3
