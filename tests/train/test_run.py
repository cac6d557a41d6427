"""Whole trainings of a small model in this process."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.run.test_changes import changed
from tests.train import quick_training as fake
from tests.train.quick_training import Config, Paths
from vxl.checkpoint.fill import fill_from_step
from vxl.checkpoint.step_folder import StepFolder, choose_step, point_to, step_folders
from vxl.errors import CheckpointError, ConfigError
from vxl.llm.lora import LoRAConfig, adapt
from vxl.option.words import flatten
from vxl.run.metrics import MetricsFile
from vxl.train.launch.handover import Stopped
from vxl.train.run import logged_settings, threads_of
from vxl.train.saving import checkpoints
from vxl.train.saving.checkpoints import Checkpoints
from vxl.train.step.module import DivergedError, VideoLanguageModule
from vxl.train.step.muon import MuonConfig


@pytest.fixture
def config(tmp_path):
    return Config(paths=Paths(runs=str(tmp_path)), name="first")


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), width=120)


def path_of(config):
    return Path(config.paths.runs) / str(config.name)


def tensors(config, which="last"):
    folder = choose_step(path_of(config), which)
    wanted = {name: torch.empty(like.shape, dtype=like.dtype) for name, like in folder.outline().items()}
    folder.read_into(wanted)
    return wanted


def digest(config, which="last"):
    """sha256 of everything that a checkpoint holds."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors(config, which).items()):
        found.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def numbers(config):
    """metrics.csv without what a clock measures."""
    timed = {"mfu", "tokens_per_s", "frames_per_s", "samples_per_s", "data_wait", "peak_memory_bytes"}
    timed |= {"total/seconds", "total/device_hours"}
    with (path_of(config) / "metrics.csv").open() as lines:
        return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(lines)]


class Killed(BaseException):
    """Ends a training as a kill would: nothing is saved or told."""


def killed(config, monkeypatch, step, where="training_step"):
    """Trains, and dies in the given step."""
    owner = VideoLanguageModule if where == "training_step" else Checkpoints
    original = getattr(owner, where)

    def die(self, *arguments, **keywords):
        trainer = self.trainer if where == "training_step" else arguments[0]
        if trainer.global_step == step:
            raise Killed
        return original(self, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, die)
        with pytest.raises(Killed):
            fake.train(config)


def test_it_learns_and_leaves_a_run_directory(config, screen):
    config = changed(config, trainer={"max_steps": 120, "val_every": 60}, checkpoint={"every": 50})
    result = fake.train(config, screen)
    path = path_of(config)
    assert json.loads((path / "RESULT.json").read_text())["heldout_accuracy"] == result.heldout_accuracy
    assert result.heldout_accuracy == 1.0
    assert result.heldout_interval[0] > 0.8
    assert result.heldout_loss < 0.5 * result.heldout_loss_first
    assert result.train_accuracy > 0.5
    assert (result.steps, result.samples, result.visual_tokens_a_frame) == (120, 960, 1.0)
    assert (result.chance, result.heldout_questions) == (0.25, 32)
    assert [folder.step for folder in step_folders(path)] == [100, 120]
    assert (path / "checkpoints" / "last").read_text() == "step-000120\n"
    assert (path / "checkpoints" / "best").read_text() == "step-000120\n"
    said = screen.file.getvalue()
    assert "step 100/120  loss" in said
    assert "held-out accuracy       100.0 % [89.3, 100.0] of 32 questions (chance 25.0 %)" in said
    assert (
        "next:  python evaluate.py run=first benchmark=json benchmark.json=" in said
    )  # not of the toy clips
    assert "held-out loss" in (path / "train.log").read_text()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["training_step", "save"])
def test_three_steps_a_kill_and_the_rest_are_six_steps(config, monkeypatch, workers, where):
    config = changed(config, data={"workers": workers})
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    # in step 5, after the checkpoint of step 3; or while the checkpoint of step 6 is about to be written
    killed(config, monkeypatch, 4 if where == "training_step" else 6, where)
    assert choose_step(path_of(config), "last").step == 3
    result = fake.train(config)
    assert digest(config) == digest(other)
    assert numbers(config) == numbers(other)
    assert dataclasses.replace(result, name="", directory="", seconds=0) == dataclasses.replace(
        fake.train(other), name="", directory="", seconds=0
    )


def resumes_with_the_same_bits(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed after its first checkpoint ends as one that nobody disturbs."""
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    killed(config, monkeypatch, 4)
    assert choose_step(path_of(config), "last").step == 3
    fake.train(config)
    assert digest(config) == digest(other)
    assert numbers(config) == numbers(other)


def test_muon_resumes_with_the_same_bits(config, monkeypatch):
    config = changed(config, optim={"optimizer": MuonConfig(weight_decay=0.1)})
    resumes_with_the_same_bits(config, monkeypatch)
    kept = [name.rpartition(".")[2] for name in tensors(config) if name.startswith("optim.")]
    assert (kept.count("momentum_buffer"), kept.count("exp_avg")) == (
        3,
        6,
    )  # what never had a gradient has none


def test_a_run_does_not_go_on_with_another_optimizer(config):
    fake.train(changed(config, trainer={"max_steps": 3}))
    with pytest.raises(ConfigError, match=r"optim\.optimizer\._target_"):
        fake.train(changed(config, optim={"optimizer": MuonConfig()}))


@pytest.mark.parametrize("frozen", ["int8", "nf4"])
def test_packed_weights_resume_with_the_same_bits(config, monkeypatch, frozen):
    pytest.importorskip("bitsandbytes")
    base = dataclasses.replace(config, name="base")
    fake.train(base)  # so that a resumed run does not have the weights by its seed
    plain = fake.Model.__init__

    def adapted(model):
        plain(model)
        adapt(model.llm, LoRAConfig(rank=2, layers=["lm_head"]))

    monkeypatch.setattr(fake.Model, "__init__", adapted)
    config = dataclasses.replace(changed(config, trainer={"frozen": frozen}), init_from=str(path_of(base)))
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    killed(config, monkeypatch, 4)
    assert choose_step(path_of(config), "last").step == 3
    fake.train(config)
    assert digest(config) == digest(other)
    assert numbers(config) == numbers(other)


def test_the_threads_of_a_run_are_not_those_of_the_next() -> None:
    before = torch.get_num_threads()
    with threads_of(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with threads_of(None):
        assert torch.get_num_threads() == before


def test_a_kill_before_the_first_checkpoint_begins_anew(config, monkeypatch, screen):
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    killed(config, monkeypatch, 1)
    fake.train(config, screen)
    assert "had no checkpoint yet, begins anew" in screen.file.getvalue()
    assert (digest(config), numbers(config)) == (digest(other), numbers(other))


def test_a_kill_between_the_last_checkpoint_and_the_result(config, monkeypatch):
    fake.train(config)
    (path_of(config) / "RESULT.json").unlink()
    before = digest(config), numbers(config)
    assert fake.train(config).heldout_accuracy is not None
    assert (digest(config), numbers(config)) == before


def test_a_finished_run_says_so(config, screen):
    fake.train(config)
    before = digest(config)
    fake.train(config, screen)
    said = screen.file.getvalue()
    assert f"{path_of(config)} is finished (6 steps); nothing to do." in said
    assert "trainer.max_steps=12" in said
    assert digest(config) == before


def test_more_steps_go_on(config, screen):
    fake.train(config)
    result = fake.train(changed(config, trainer={"max_steps": 8}), screen)
    assert result.steps == 8
    assert "goes on after step 6" in screen.file.getvalue()
    assert [row["step"] for row in numbers(config) if row["loss"]] == [str(i) for i in range(1, 9)]


def test_the_loss_does_not_depend_on_how_rows_are_dealt_into_micro_batches(config, monkeypatch):
    monkeypatch.setattr(fake, "model", lambda config: _no_dropout(config))
    fake.train(config)
    once = changed(config, name="once", data={"batch": 8}, trainer={"accumulate": 1})
    fake.train(once)
    for name, tensor in tensors(config).items():
        torch.testing.assert_close(tensor, tensors(once)[name], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(numbers(config), numbers(once), strict=True):
        if ours["loss"]:
            assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-5)
            assert float(ours["grad_norm"]) == pytest.approx(float(theirs["grad_norm"]), rel=1e-4)


def _no_dropout(config):
    torch.manual_seed(config.seed)
    return fake.Model(dropout=0.0)


def test_frozen_parts_stay_as_they_were(config):
    config = changed(config, stage={"train": ["projector"]})
    fresh = {f"model.{name}": tensor.clone() for name, tensor in fake.model(config).state_dict().items()}
    result = fake.train(config)
    now = {name: tensor for name, tensor in tensors(config).items() if name.startswith("model.")}
    moved = {name for name in now if not torch.equal(now[name], fresh[name])}
    assert moved == {"model.compressor.projector.weight", "model.compressor.projector.bias"}
    assert result.trained_parameters == 16 * 16 + 16
    assert {name.split(".")[1] for name in tensors(config) if name.startswith("optim.")} == {"compressor"}


def test_weights_load_into_a_model_without_lightning(config):
    fake.train(config)
    model = fake.Model()
    fill_from_step(choose_step(path_of(config)), model)
    assert torch.equal(model.llm.lm_head.weight, tensors(config)["model.llm.lm_head.weight"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_saves_at_the_end_of_the_step_and_the_same_command_goes_on(
    config, monkeypatch, screen, number
):
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    step = VideoLanguageModule.training_step
    before = signal.getsignal(number)  # a shell's background jobs ignore SIGINT

    def interrupted(self, *arguments):
        if self.trainer.global_step == 1:
            signal.raise_signal(number)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(VideoLanguageModule, "training_step", interrupted)
        with pytest.raises(SystemExit) as stop:
            fake.train(config, screen)
    assert stop.value.code == 128 + number
    assert choose_step(path_of(config), "last").step == 2
    assert "stopped after step 2 of 6" in screen.file.getvalue()
    assert not (path_of(config) / "RESULT.json").exists()
    assert not (path_of(config) / ".lock").exists()
    assert signal.getsignal(number) is before
    fake.train(config)
    assert (digest(config), numbers(config)) == (digest(other), numbers(other))


def test_of_several_signals_the_one_that_asks_to_come_back_counts(config, monkeypatch):
    step = VideoLanguageModule.training_step

    def interrupted(self, *arguments):
        if self.trainer.global_step == 1:
            for number in (signal.SIGUSR2, signal.SIGTERM):  # to be preempted comes as both
                signal.raise_signal(number)
        return step(self, *arguments)

    monkeypatch.setattr(VideoLanguageModule, "training_step", interrupted)
    with pytest.raises(Stopped) as stop:
        fake.train(config)
    assert stop.value.number == signal.SIGUSR2


def test_a_time_limit_that_is_shorter_than_a_save_leaves_the_checkpoint_before(config, monkeypatch):
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    step, point = VideoLanguageModule.training_step, point_to

    def warned(self, *arguments):
        if self.trainer.global_step == 4:
            signal.raise_signal(signal.SIGUSR2)
        return step(self, *arguments)

    def killed_before_it_is_whole(parent, name, target):
        if target.step == 5:
            (target.path / ".metadata").unlink()  # as a kill leaves it:
            target.path.rename(parent / f".{target.path.name}.01234567.part")
            raise Killed
        point(parent, name, target)

    with monkeypatch.context() as patch:
        patch.setattr(VideoLanguageModule, "training_step", warned)
        patch.setattr(checkpoints, "point_to", killed_before_it_is_whole)
        with pytest.raises(Killed):
            fake.train(config)
    assert choose_step(path_of(config), "last").step == 3
    fake.train(config)
    assert (digest(config), numbers(config)) == (digest(other), numbers(other))
    assert not list((path_of(config) / "checkpoints").glob(".*.part"))


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_move(config):
    with pytest.raises(DivergedError) as error:
        fake.train(config, poison=4)
    assert str(error.value) == (
        "step 5 of 6: loss is nan, grad_norm is nan; expected a finite number.\n"
        "  samples of the step: 32, 33, 34, 35, 36, 37, …\n"
        f"  batch and weights are in {path_of(config)}/diverged/step-000005\n"
        "  which part began it:  python train.py debug=replay name=first\n"
        "  the last checkpoint is sound. Under a new name=NAME try a smaller\n"
        "  optim.lr (now 0.02), a longer optim.warmup, or trainer.precision=32-true"
    )
    assert choose_step(path_of(config), "last").step == 3
    assert not (path_of(config) / ".lock").exists()


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_during_a_checkpoint_leaves_the_one_before(config, monkeypatch, background):
    config = changed(config, checkpoint={"background": background})
    save = torch.save

    def full(rest, file, **keywords):
        if isinstance(rest, dict) and rest["global_step"] == 6:
            raise OSError(28, "No space left on device")
        return save(rest, file, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(CheckpointError, match=r"the disk is full[\s\S]*step 3 is whole"):
            fake.train(config)
    assert choose_step(path_of(config), "last").step == 3
    assert not list((path_of(config) / "checkpoints").glob(".*.part"))
    other = changed(config, name="second", checkpoint={"background": False})
    fake.train(other)
    fake.train(config)
    assert digest(config) == digest(other)


@pytest.mark.parametrize("background", [False, True])
def test_metrics_are_on_disk_before_a_checkpoint_has_its_name(config, monkeypatch, background):
    """As after a power cut: what was never synced is lost."""
    synced: dict[str, int] = {}
    fsync, checkpoints = os.fsync, path_of(config) / "checkpoints"
    unsynced = []

    def noted(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced[path.name] = path.stat().st_size
        if path == checkpoints and any(path.glob("step-*")):  # a checkpoint has just got its name
            rows = len(MetricsFile(path_of(config) / "metrics.csv").rows())
            if rows and synced["metrics.csv"] < before_this_checkpoint[-1]:
                unsynced.append(path)
        return fsync(descriptor)

    before_this_checkpoint = []
    save = Checkpoints.save

    def counted(self, trainer):
        before_this_checkpoint.append((path_of(config) / "metrics.csv").stat().st_size)
        return save(self, trainer)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Checkpoints, "save", counted)
    fake.train(changed(config, checkpoint={"background": background}))
    assert len(before_this_checkpoint) == 2
    assert synced["metrics.csv"] >= before_this_checkpoint[-1]
    assert unsynced == []


def test_a_checkpoint_in_the_background_is_that_of_its_step(config, monkeypatch):
    """It is written only when training is two steps further, and the next one waits for it."""
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    step, write, further, order = VideoLanguageModule.training_step, StepFolder.write, threading.Event(), []

    def noted(self, *arguments):
        order.append(self.trainer.global_step)
        if self.trainer.global_step == 5:
            further.set()
        return step(self, *arguments)

    def slow(target, *arguments):
        assert further.wait(20)
        order.append(target.path.name)
        write(target, *arguments)

    monkeypatch.setattr(VideoLanguageModule, "training_step", noted)
    monkeypatch.setattr(StepFolder, "write", slow)
    config = changed(config, checkpoint={"background": True})
    fake.train(config)
    assert order.index("step-000003") > order.index(4)
    assert order[-1] == "step-000006"
    for which in (3, 6):
        assert digest(config, which) == digest(other, which)
    assert numbers(config) == numbers(other)


def test_a_run_that_fails_finishes_the_checkpoint_in_the_background_first(config, monkeypatch):
    """Its directory is given back after that: whoever starts it again removes what is half written."""
    write, failing = StepFolder.write, threading.Event()

    def slow(target, *arguments):
        assert failing.wait(20)
        time.sleep(0.2)
        write(target, *arguments)

    def fail(self, *arguments):
        if self.trainer.global_step == 4:
            failing.set()
            raise Killed
        return step(self, *arguments)

    step = VideoLanguageModule.training_step
    monkeypatch.setattr(StepFolder, "write", slow)
    monkeypatch.setattr(VideoLanguageModule, "training_step", fail)
    with pytest.raises(Killed):
        fake.train(changed(config, checkpoint={"background": True}))
    assert choose_step(path_of(config), "last").step == 3


def test_a_warm_start_takes_what_fits_and_reports_the_rest(config, screen, monkeypatch):
    fake.train(config)
    wide = dataclasses.replace(config, name="second", init_from="first", seed=1)
    monkeypatch.setattr(fake, "model", lambda config: _other_head())
    fake.train(changed(wide, trainer={"max_steps": 1}, optim={"lr": 1e-9}), screen)
    said = " ".join(screen.file.getvalue().split())
    assert "11 tensors loaded" in said
    assert "new: llm.extra" in said
    assert "another shape, new: llm.never_used.weight [2, 2] -> [3, 3]" in said
    first, second = tensors(config), tensors(wide)
    torch.testing.assert_close(
        second["model.vision.0.weight"], first["model.vision.0.weight"], rtol=0, atol=1e-6
    )


def _other_head():
    model = fake.Model()
    model.llm.never_used = torch.nn.Linear(3, 3)
    model.llm.extra = torch.nn.Parameter(torch.zeros(2))
    return model


def test_a_warm_start_from_nothing(config):
    with pytest.raises(ConfigError, match="there is no run 'frist'"):
        fake.train(dataclasses.replace(config, init_from="frist"))


def test_members_of_a_sweep_have_folders_of_their_own(config):
    member = dataclasses.replace(config, name=None, sweep_name="lr-12", sweep_member="lr=0.1")
    result = fake.train(member)
    assert result.name == "lr-12/lr=0.1"
    assert (Path(config.paths.runs) / "lr-12" / "lr=0.1" / "RESULT.json").exists()


def test_resumed_without_a_gradient_so_far_a_parameter_has_no_optimizer_state(config):
    fake.train(config)
    assert not [name for name in tensors(config) if name.startswith("optim.llm.never_used")]
    assert [name for name in tensors(config) if name.startswith("model.llm.never_used")]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(config, precision):
    result = fake.train(changed(config, trainer={"precision": precision, "max_steps": 2}))
    assert result.heldout_loss < result.heldout_loss_first
    kinds = {"bf16-mixed": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}
    assert tensors(config)["model.llm.lm_head.weight"].dtype == kinds[precision]


def test_a_full_disk_met_by_another_file(config, monkeypatch):
    append = MetricsFile.append

    def full(self, step, numbers):
        if step == 4:
            raise OSError(28, "No space left on device", str(self.path))
        append(self, step, numbers)

    monkeypatch.setattr(MetricsFile, "append", full)
    with pytest.raises(CheckpointError) as error:
        fake.train(config)
    assert str(error.value) == (
        f"{path_of(config)}/metrics.csv can't be written: the disk is full.\n"
        "  free space, or write elsewhere:  paths.runs=FOLDER\n"
        "  what was saved is whole; then the same command goes on, from the last checkpoint if there is one."
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_on_a_gpu_too_a_kill_leaves_no_trace(config, monkeypatch, precision):
    gpu = {"accelerator": "gpu", "deterministic": True, "precision": precision}
    config = changed(config, trainer=gpu, data={"workers": 2})
    other = dataclasses.replace(config, name="second")
    fake.train(other)
    killed(config, monkeypatch, 4)
    fake.train(config)
    assert digest(config) == digest(other)
    assert numbers(config) == numbers(other)


def test_the_logger_has_one_learning_rate(config):
    config = changed(config, stage={"lr": 1e-5})
    flat = flatten(logged_settings(config))
    assert {key: value for key, value in flat.items() if key.split(".")[-1] == "lr"} == {"optim.lr": 0.02}


def test_the_closing_table_says_which_mean_it_shows(config, screen):
    config = changed(config, trainer={"log_every": 4})
    result = fake.train(config, screen)
    (*_, last) = [row for row in numbers(config) if row["loss"]]
    assert (last["step"], result.loss_steps) == ("6", 4)
    assert result.loss_last == float(last["loss"])
    assert f"-> {result.loss_last:.3f} (mean of the last 4 steps)" in screen.file.getvalue()
    assert f"step 6/6  loss {result.loss_last:.3f}" in screen.file.getvalue()
