"""A training run from beginning to end; read `run` aloud."""

import contextlib
import errno
import logging
import os
import random
import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.logging import RichHandler
from torch import nn

from vxl.atomic import why_not
from vxl.checkpoint import step_files as folder
from vxl.checkpoint.folder import step_of
from vxl.distributed import once
from vxl.errors import CheckpointError, LostError
from vxl.llm.packed import packed
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.run.directory import RunDirectory
from vxl.run.metrics import MetricsFile
from vxl.run.name import run_name
from vxl.run.result import Result, from_metrics
from vxl.seeds import seed_of
from vxl.train.launch.cluster import SUBMITTED
from vxl.train.launch.group import Group, processes
from vxl.train.launch.handover import Stopped
from vxl.train.lightning_trainer import build_trainer
from vxl.train.parallel.strategy import Launch
from vxl.train.report.logger import Csv, CsvConfig, Sink
from vxl.train.start import Start, start_of
from vxl.train.step.compiled import compile_blocks
from vxl.train.step.micro_batch import with_micro_batch
from vxl.train.trainer import accelerator_of, device_of

if TYPE_CHECKING:
    from lightning.pytorch import Callback

log = logging.getLogger(__name__)


def run(config: Any, composed: str, console: Console | None = None) -> Result:
    """Trains what a config says, or goes on with it, or says that it is done.

    Args:
        config: A checked TrainConfig.
        composed: The composed YAML, kept in the run directory.
        console: Where progress and the closing table go.

    Returns:
        The run's result, which also stands in RESULT.json.

    Raises:
        VxlError: What a user can mend: config, data, checkpoint, a loss that is no number.
        SystemExit: The run was interrupted; a checkpoint is saved (status 130, or 143 for SIGTERM).
    """
    cuda = accelerator_of(config.trainer) == "gpu"
    launch = build(config.strategy)
    swept = config.sweep_name is not None and SUBMITTED not in os.environ
    with processes(config.trainer, cuda, swept) as group, worker_errors():
        console = console if console is not None and group.first else Console(quiet=not group.first)
        seed_everything(config.seed, config.trainer.threads)
        with opened(config, composed, group) as directory, logged_to(directory.log, console, group):
            if directory.status == "finished":
                return finished(directory, config, console)
            with writable(directory.path):
                checkpoint = once(lambda: folder.tidy(directory.checkpoints))
                announce(directory, checkpoint, config, console)
                data = build_data(config, directory)
                start = build_model(config, data, checkpoint, group, launch.sharded)
                return fit(config, directory, group, launch, data, start, checkpoint, console)


def fit(
    config: Any,
    directory: RunDirectory,
    group: Group,
    launch: Launch,
    data: Any,
    start: Start,
    checkpoint: Path | None,
    console: Console,
) -> Result:
    """Trains a model on a data module in an opened run directory, up to RESULT.json."""
    from vxl.train.debug.profile import Profile
    from vxl.train.report.progress import ProgressBar
    from vxl.train.report.throughput import flops_of, peak_of
    from vxl.train.report.validation import Validation
    from vxl.train.report.watch import Watch
    from vxl.train.saving.checkpoints import Checkpoints
    from vxl.train.saving.interrupt import Interrupt
    from vxl.train.step.module import VideoLanguageModule

    model, steps, frozen = start.model, config.trainer.max_steps, config.trainer.frozen
    module = VideoLanguageModule(model, config.stage, config.optim, steps, config.seed, frozen, start.fill)
    if config.trainer.micro_batch == "auto":
        data.config = config = with_micro_batch(config, model, device_of(config.trainer, group.local))
    counts = parameters_of(model)
    console.print(start_line(group, config, *counts), markup=False, soft_wrap=True)
    metrics = MetricsFile(directory.metrics)
    once(lambda: metrics.cut(step_of_checkpoint(checkpoint)))
    with logger(config, directory, group) as sink:
        peak = peak_of(device_of(config.trainer, group.local))
        flops = None if peak is None else flops_of(model, peak)
        compile_blocks(model, config.trainer.compile)
        watch = Watch(metrics, sink, config.trainer.log_every, flops)
        shown = directory.path / "predictions", config.trainer.show
        validation = Validation(watch, config.trainer.val_every, *shown)
        interrupt = Interrupt()
        checkpoints = Checkpoints(directory.checkpoints, config.checkpoint, validation, interrupt, watch)
        progress = ProgressBar(watch, config.trainer.print_every, console)
        # At the end of a step: numbers, validation, then the checkpoint that holds both, then the bar.
        callbacks: list[Callback] = [watch, validation, interrupt, checkpoints, progress]
        profile = None
        if config.debug.profile:
            place = directory.path / "profile" / ("" if group.first else f"rank{group.rank}")
            profile = Profile(place, config.debug.profile)
            callbacks = [profile.first, *callbacks, profile]
        trainer = build_trainer(config.trainer, launch, group, callbacks, directory.path)
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if profile is not None:
        profile.show(console)
        console.print(
            f"trace:  {profile.folder}/trace.json  (chrome://tracing, ui.perfetto.dev)", markup=False
        )
        sys.exit(0)
    if interrupt.stopped is not None and trainer.global_step < config.trainer.max_steps:
        console.print(
            f"stopped after step {trainer.global_step} of {config.trainer.max_steps}; checkpoint saved.\n"
            "go on:  the same command again",
            markup=False,
        )
        raise Stopped(interrupt.stopped)

    def conclude() -> Result:
        result = from_metrics(
            metrics,
            name=run_name(config),
            directory=directory.path,
            steps=trainer.global_step,
            samples=watch.samples,
            seconds=watch.seconds,
            visual_tokens_a_frame=watch.visual_tokens / watch.frames if watch.frames else None,
            parameters=counts,
        )
        result.write(directory.result)
        result.show(console, then(config))
        return result

    return once(conclude)


def then(config: Any) -> str:
    """What to type when a run is finished; empty for its evaluation."""
    if config.stage.objective == "language":
        return ""
    return (
        "baseline: a group's mean patch in every place\n"
        f"next:  python train.py model={config.model} init_from={run_name(config)} stage=align"
    )


@contextlib.contextmanager
def opened(config: Any, composed: str, group: Group) -> Generator[RunDirectory]:
    """The run directory, locked by the first process; the others know what it found and write nothing."""
    directory = once(lambda: RunDirectory.open(config, composed))
    if group.first:
        with directory:
            yield directory
    else:
        yield directory


def parameters_of(model: nn.Module) -> tuple[int, int]:
    """(all, trained) parameters; before the model is sharded."""
    counted = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    counted += [(layer.in_features * layer.out_features, False) for _, layer in packed(model)]
    return sum(number for number, _ in counted), sum(number for number, learns in counted if learns)


def seed_everything(seed: int, threads: int | None) -> None:
    """Seeds every generator, for whatever is drawn before the first step; steps seed themselves."""
    random.seed(seed)
    np.random.seed(seed_of(seed, "numpy") % 2**32)
    torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)


def build_data(config: Any, directory: RunDirectory) -> Any:
    """The Lightning data module; its tokenizer is copied into the run."""
    from vxl.train.step.data_module import DataModule

    data = DataModule(config)

    def prepare() -> None:
        data.prepare_data()
        data.tokenizer.save_pretrained(directory.path / "tokenizer")

    once(prepare)
    data.prepare_data()
    return data


def build_model(config: Any, data: Any, checkpoint: Path | None, group: Group, sharded: bool) -> Start:
    """The model, with the weights that a new run starts from; a checkpoint fills a resumed one later."""
    return start_of(config, data, checkpoint, group, sharded)


@contextlib.contextmanager
def logger(config: Any, directory: RunDirectory, group: Group) -> Generator[Sink]:
    """The logger of a run; ended whatever happens, so that the next run of this process has its own."""
    if not group.first:
        yield Csv(CsvConfig())
        return
    sink = build(
        config.logger,
        directory=directory.path,
        name=run_name(config),
        group=config.sweep_name or run_name(config).rpartition("/")[0] or None,
        settings=plain(config),
    )
    code = 1
    try:
        yield sink
        code = 0
    finally:
        sink.finish(code)


@contextlib.contextmanager
def worker_errors() -> Generator[None]:
    """Says in a user's words that a data worker is gone: PyTorch raises it wherever the main thread is."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if not text.startswith("DataLoader worker"):
            raise
        raise LostError(
            f"a data worker is gone: {text}\n"
            "  if it was killed, memory may have run out:  fewer data.workers, a smaller data.batch\n"
            "  then the same command goes on from the last checkpoint"
        ) from error


@contextlib.contextmanager
def writable(path: Path) -> Generator[None]:
    """Says in a user's words that a disk is full or read-only, whichever file met it first."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise CheckpointError(
            f"{error.filename or path} can't be written: {why_not(error)}\n"
            f"  the last checkpoint is whole; then the same command goes on from there."
        ) from error


def finished(directory: RunDirectory, config: Any, console: Console) -> Result:
    """Says that there is nothing to do, and how there would be."""
    result = Result.read(directory.result)
    result.show(console, then(config))
    console.print(
        f"{directory.path} is finished ({result.steps} steps); nothing to do.\n"
        f"  train it longer:   trainer.max_steps={2 * config.trainer.max_steps}\n"
        f"  start it anew:     on_existing=overwrite  (removes it)\n"
        f"  another name:      name=NAME",
        markup=False,
    )
    return result


def announce(directory: RunDirectory, checkpoint: Path | None, config: Any, console: Console) -> None:
    """Says what is about to happen, in a line or two."""
    if checkpoint is not None:
        console.print(f"{directory.path}: goes on after step {step_of_checkpoint(checkpoint)}", markup=False)
    elif directory.status == "resume":
        console.print(f"{directory.path}: had no checkpoint yet, begins anew", markup=False)
    else:
        console.print(f"{directory.path}: a new run", markup=False)
    for change in directory.changes:
        console.print(f"  {change.key}: {change.old} -> {change.new}", markup=False)


def start_line(group: Group, config: Any, parameters: int, trained: int) -> str:
    """One line of what runs where: who launched it, strategy, global batch, what learns, tokens a step."""
    strategy = config.strategy._target_.rpartition(".")[2].lower()
    batch = (config.data.batch, config.trainer.accumulate, group.ranks)
    rows = batch[0] * batch[1] * batch[2]
    most = getattr(config.data, "max_tokens", None)
    parts = [
        str(group),
        f"strategy {strategy}",
        f"global batch {rows} rows ({' x '.join(map(str, batch))})",
        f"{trained:,} of {parameters:,} parameters trained",
        *([f"at most {rows * most:,} tokens a step"] if most else []),
    ]
    return " · ".join(parts)


def step_of_checkpoint(checkpoint: Path | None) -> int:
    """The step that a checkpoint was written after; -1 for none, which is before the validation of step 0."""
    return -1 if checkpoint is None else step_of(checkpoint)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Leaves out warnings that are not about the run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        yield


@contextlib.contextmanager
def logged_to(file: Path, console: Console, group: Group) -> Generator[None]:
    """Messages of vxl go to the run's train.log and the screen; Lightning's are left out.

    Of other processes than the first only warnings are shown, and nothing is written.
    """
    root = logging.getLogger("vxl")
    if not group.first:
        with _quiet():
            yield
        return
    to_file = logging.FileHandler(file)
    to_file.handleError = lambda record: None  # a full disk stops the run where it matters, at the checkpoint
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_screen = RichHandler(console=console, show_time=False, show_path=False, show_level=False)
    handlers: list[logging.Handler] = [to_file, to_screen]
    before = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    try:
        with _quiet():
            yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
