"""The data module: optimizer steps, resumable, the same for any number of ranks and workers."""

import multiprocessing
import re
import time
from dataclasses import replace

import pytest
import torch

from tests.data.media import image, talk, video
from tests.data.talking import settings
from vxl.data.batch.examples import Examples
from vxl.data.json import JsonConfig
from vxl.data.sample import BadSample, Question
from vxl.errors import DataError, LostError
from vxl.train.step.data_module import DataModule
from vxl.video.frame_cache import frames_kept

QUESTION = {"question": "What is it?", "options": ["red", "green", "blue", "grey"], "answer": "D"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 samples of all kinds as a JSON list: videos of several lengths, images, text, questions."""
    import json

    place = tmp_path_factory.mktemp("own")
    for frames in (3, 8, 13):
        (place / f"{frames}.mp4").write_bytes(video(frames))
    (place / "p.jpg").write_bytes(image())
    items = []
    for n in range(6):
        items.append({"id": f"video{n}", "video": f"{(3, 8, 13)[n % 3]}.mp4", **talk("word " * n + "end")})
        items.append({"id": f"image{n}", "image": ["p.jpg"] * (n % 2 + 1), **talk()})
        items.append({"id": f"text{n}", **talk("only text " * n + "end")})
        items.append({"id": f"question{n}", "video": "8.mp4", "questions": [QUESTION]})
    (place / "train.json").write_text(json.dumps(items))
    (place / "val.json").write_text(json.dumps(items[3:8]))
    return place


@pytest.fixture
def module(folder, tmp_path):
    """Makes data modules over that list."""

    def make(*, rank=None, ranks=None, accumulate=1, seed=0, **changes):
        data = JsonConfig(json=str(folder / "train.json"), videos=str(folder), val=str(folder / "val.json"))
        keys = {"batch": 4, "bucket": 24, "workers": 0} | changes
        made = DataModule(
            settings(tmp_path, replace(data, **keys), seed=seed, accumulate=accumulate),
            rank=rank,
            ranks=ranks,
        )
        made.prepare_data()
        return made

    return make


def steps(module, count):
    """The next optimizer steps, counted as trained on."""
    found = []
    for batches in module.train_dataloader():
        module.on_before_batch_transfer(batches, 0)
        found.append(batches)
        if len(found) == count:
            return found
    raise AssertionError("endless")


def seen(batches):
    return [[key for batch in step for key in batch.keys] for step in batches]


def content(step):
    return [
        torch.cat([b.tokens_BT.flatten() for b in step]),
        torch.cat([b.frames_FCHW.flatten() for b in step]),
    ]


def test_a_pass_sees_every_sample_once(module):
    keys = [key for step in seen(steps(module(), 6)) for key in step]
    assert len(set(keys)) == 24


def test_a_step_is_its_micro_batches(module):
    (step,) = steps(module(accumulate=3, batch=2), 1)
    assert [batch.rows for batch in step] == [2, 2, 2]


def test_micro_batches_may_change_at_the_same_global_batch(module):
    whole = seen(steps(module(batch=4), 4))
    assert seen(steps(module(batch=1, accumulate=4), 4)) == whole
    assert seen(steps(module(batch=2, accumulate=2), 4)) == whole


def test_ranks_share_a_step(module):
    whole = seen(steps(module(batch=4), 4))
    apart = [seen(steps(module(batch=2, rank=rank, ranks=2), 4)) for rank in range(2)]
    assert [one + two for one, two in zip(*apart, strict=True)] == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(module, workers):
    alone, several = steps(module(), 3), steps(module(workers=workers), 3)
    for one, two in zip(alone, several, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(content(one), content(two), strict=True))


@pytest.mark.parametrize("packing", [False, True])
def test_resuming_goes_on_where_it_stopped(module, packing):
    changes = {"packing": packing, "max_tokens": 300, "batch": 2}
    whole = steps(module(**changes), 8)
    first = module(**changes)
    steps(first, 3)
    again = module(**changes)
    again.load_state_dict(first.state_dict())
    rest = steps(again, 5)
    assert seen(rest) == seen(whole[3:])
    for one, two in zip(rest, whole[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(content(one), content(two), strict=True))


def test_a_resumed_run_goes_on_counting_bad_samples(module):
    bad = BadSample(key="k", shard="s", reason="cut off")
    whole, first = module(max_bad_fraction=0.03), module(max_bad_fraction=0.03)
    (step,) = steps(module(), 1)
    step = [replace(batch, bad=[bad, bad]) for batch in step]
    first.consumed(step)
    again = module(max_bad_fraction=0.03)
    again.load_state_dict(first.state_dict())
    whole.consumed(step)
    for counting in (whole, again):  # 4 of the first 100 samples are more than 3 %
        with pytest.raises(DataError, match=r"4 of 8 samples could not be used"):
            counting.consumed(step)


def test_what_was_fetched_but_not_used_comes_again(module):
    first = module(workers=1)
    loader = iter(first.train_dataloader())
    first.on_before_batch_transfer(next(loader), 0)
    ahead = next(loader)
    again = module()
    again.load_state_dict(first.state_dict())
    assert seen(steps(again, 1)) == seen([ahead])


def test_resuming_with_other_ranks(module):
    whole = seen(steps(module(batch=4), 4))
    first = module(batch=2, rank=1, ranks=2)
    steps(first, 2)
    again = module(batch=4)
    again.load_state_dict(first.state_dict())
    assert seen(steps(again, 2)) == whole[2:]


def test_the_state_fits_into_json(module):
    import json

    one = module()
    steps(one, 2)
    assert json.loads(json.dumps(one.state_dict()))["rows"] == 8


def test_packed_rows_hold_several_samples_within_the_limit(module):
    batches = [batch for step in steps(module(packing=True, max_tokens=300, batch=2), 3) for batch in step]
    assert max(int(batch.layout.document_BT.max()) for batch in batches) >= 1
    assert max(batch.tokens_BT.shape[1] for batch in batches) <= 300


def test_the_cost_is_the_length(module):
    one = module()
    source = one.data.training(0).sources["json"]
    for number in range(len(source)):
        example = one.examples.make(source.load(number), 0)
        assert one.examples.cost(source.record(number)) == len(example.encoded)


def test_frames_fill_whole_groups(module):
    for (batch,) in steps(module(), 6):
        assert batch.frames == sum(item.frames for item in batch.items)
        assert batch.visual_tokens == 4 * sum(item.groups for item in batch.items)
        assert batch.frames == 4 * sum(item.groups for item in batch.items)


def test_the_last_frame_is_repeated_and_images_are_a_group(module):
    one = module()
    source = one.data.training(0).sources["json"]
    by_key = {source.record(n).key: n for n in range(len(source))}
    frames = one.examples.make(source.load(by_key["video2"]), 0).frames_FCHW  # 13 frames
    assert len(frames) == 16
    assert all(torch.equal(frames[12], frames[n]) for n in range(12, 16))
    pictures = one.examples.make(source.load(by_key["image1"]), 0).frames_FCHW
    assert pictures.shape == (8, 3, 56, 56)
    assert torch.equal(pictures[0], pictures[3])


def test_batches_hold_samples_of_similar_length(module):
    lengths = [[int(n) for n in batch.layout.real_BT.sum(1)] for (batch,) in steps(module(), 6)]
    spread = sum(max(row) - min(row) for row in lengths)
    flat = sorted(n for row in lengths for n in row)
    assert spread <= flat[-1] - flat[0]


def test_questions_carry_their_letters(module):
    keys = [
        (k, a)
        for step in steps(module(), 6)
        for batch in step
        for k, a in zip(batch.keys_Q, batch.answer_Q, strict=True)
    ]
    assert sorted(keys) == [(f"question{n}#0", 3) for n in range(6)]


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_sees_everything_once_in_one_order(module, workers):
    loader = module(workers=workers, batch=2).val_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    keys = [key for batch in batches for key in batch.keys]
    assert sorted(keys) == ["image1", "question0#0", "question1#0", "text1", "video1"]
    assert keys == [key for batch in loader for key in batch.keys]


def test_ranks_validate_as_many_batches_and_together_everything_once(module):
    parts = [list(module(batch=1, rank=rank, ranks=3).val_dataloader()) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    keys = [key for part in parts for batch in part for key in batch.keys]
    assert len(keys) == len(set(keys)) == 5
    whole = list(module(batch=1).val_dataloader())
    assert sum(b.supervised for part in parts for b in part) == sum(b.supervised for b in whole)


def test_without_a_held_out_list_there_is_no_validation(module):
    one = module(val=None)
    assert one.val_dataloader() is None


def test_loaders_leave_torchs_generator_alone(module):
    one = module(workers=1)
    before = torch.get_rng_state()
    steps(one, 1)
    list(one.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_samples_are_masked_and_counted(folder, module):
    broken = folder / "8.mp4"
    whole = broken.read_bytes()
    one = module(max_bad_fraction=1.0)
    try:
        broken.write_bytes(whole[: len(whole) // 2])
        found = steps(one, 6)
    finally:
        broken.write_bytes(whole)
    members = [[key.partition("#")[0] for key in step] for step in seen(found)]
    assert members == [[key.partition("#")[0] for key in step] for step in seen(steps(module(), 6))]
    bad = [sample for (batch,) in found for sample in batch.bad]
    assert sorted(sample.key for sample in bad) == sorted(
        [f"question{n}" for n in range(6)] + ["video1", "video4"]
    )
    assert one.state_dict()["bad"]["bad"] == 8
    assert all(len(batch.keys_Q) == 0 for (batch,) in found)


def test_a_sample_longer_than_the_row_is_a_bad_one(module):
    one = module(max_tokens=60, max_bad_fraction=1.0)
    reasons = [sample.reason for (batch,) in steps(one, 6) for sample in batch.bad]
    assert reasons
    assert all("data.max_tokens=60" in reason for reason in reasons)


def test_too_many_bad_samples_stop_the_run(module):
    with pytest.raises(DataError, match=r"max_bad_fraction=0\.01 is exceeded") as error:
        steps(module(max_tokens=60), 6)
    assert "shards lint" not in str(error.value)  # which knows no data.max_tokens


def test_the_command_that_lints_a_list_names_its_folder_of_media(module):
    one = module(max_bad_fraction=0.0)
    shard = one.data.config.json
    with pytest.raises(DataError, match=r"lint --decode .*train\.json --videos "):
        one._bad.add(1, [BadSample(shard, "k", "cut off", "media")])


def test_seeds_give_other_orders(module):
    assert seen(steps(module(seed=1), 3)) != seen(steps(module(), 3))


def test_the_question_of_a_sample_is_asked_as_in_evaluation(module):
    one = module()
    source = one.data.training(0).sources["json"]
    number = next(n for n in range(len(source)) if source.record(n).question)
    example = one.examples.make(source.load(number), 0)
    assert example.question == Question("What is it?", ("red", "green", "blue", "grey"), "D")
    text = one.tokenizer.decode(example.encoded.tokens)
    assert "What is it?\nA. red\nB. green\nC. blue\nD. grey\nAnswer with the option's letter" in text


def test_a_trainer_counts_what_it_trains_on(module, tmp_path):
    import lightning as L

    class Model(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen = []

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def training_step(self, batches, batch_idx):
            self.seen.append((self.trainer.datamodule.rows, [b.rows for b in batches]))
            optimizer = self.optimizers()
            self.manual_backward(self.weight * 1.0)
            optimizer.step()

    model, data = Model(), module(accumulate=2, batch=2, workers=1)
    trainer = L.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=data)
    assert model.seen == [(4, [2, 2]), (8, [2, 2]), (12, [2, 2])]
    assert data.rows == 12


def test_a_run_that_goes_on_with_other_samples_says_so(module, folder, caplog):
    first = module()
    steps(first, 1)
    same = module()
    same.load_state_dict(first.state_dict())
    assert "began with" not in caplog.text
    whole = (folder / "train.json").read_text()
    try:
        (folder / "train.json").write_text(whole.replace("only text", "other text"))
        other = module()
        caplog.clear()
        other.load_state_dict(first.state_dict())
        assert "the samples of data (json) are not those that this run began with" in caplog.text
        assert "goes on at row 4" in caplog.text
    finally:
        (folder / "train.json").write_text(whole)
    old = {key: value for key, value in first.state_dict().items() if key != "of"}
    module().load_state_dict(old)  # of a run from before data were known


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_frames_change_no_batch(workers, module, tmp_path):
    without = [content(step) for step in steps(module(workers=workers), 4)]
    for _ in ("cold", "warm"):
        with frames_kept("frames", tmp_path / "cache", 1.0):
            found = [content(step) for step in steps(module(workers=workers), 4)]
        assert all(
            torch.equal(a, b) for x, y in zip(found, without, strict=True) for a, b in zip(x, y, strict=True)
        )
        assert len(list((tmp_path / "cache" / "frames").rglob("*.frames"))) == 3


def test_a_worker_that_hangs_ends_the_run_within_its_patience(module, monkeypatch):
    data = module(workers=1, patience=0.8)
    monkeypatch.setattr(Examples, "make", lambda *_, **__: time.sleep(60))
    began = time.monotonic()
    with pytest.raises(LostError, match=r"a data worker has not finished its batch in 1 s: ") as lost:
        steps(data, 1)
    key = r"(video|image|text|question)\d of .*train\.json"
    assert re.search(r"data worker 0 \(process \d+\), \d s at sample " + key + "$", str(lost.value), re.M)
    assert "data.patience=3600" in str(lost.value)
    assert time.monotonic() - began < 20
    assert not multiprocessing.active_children()
