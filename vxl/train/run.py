"""A training run from beginning to end; read `train_or_resume` aloud."""

import contextlib
import random
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from vxl.atomic import whole_folder
from vxl.checkpoint.resume import newest_to_resume
from vxl.checkpoint.step_folder import StepFolder
from vxl.distributed import once
from vxl.imported import imported_for_good
from vxl.logger.base import Sink
from vxl.logger.csv import Csv, CsvConfig
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.patience import patience_of
from vxl.run.directory import RunDirectory, status_of
from vxl.run.metrics import MetricsFile
from vxl.run.name import run_name
from vxl.run.objective import objective
from vxl.run.result import Result, from_metrics
from vxl.seeds import seed_of
from vxl.terminal.screen import Screen, prose
from vxl.train.config import TrainConfig
from vxl.train.faults import name_a_full_disk, name_a_lost_worker
from vxl.train.launch.cluster import is_submitted
from vxl.train.launch.handover import Stopped
from vxl.train.launch.processes import Processes, join_processes
from vxl.train.lightning_trainer import build_trainer
from vxl.train.parallel.context import context_group
from vxl.train.recomputing import Recomputing, least_free
from vxl.train.report.logged import final_numbers, without_noise
from vxl.train.report.messages import (
    announce,
    next_command,
    say_finished,
    show_profile,
    show_stopped,
    start_line,
)
from vxl.train.report.opening import open_training, refuse_absent
from vxl.train.report.train_log import logged_to
from vxl.train.sizes import parameters_of
from vxl.train.start import Start, build_start
from vxl.train.step.compiled import compile_blocks
from vxl.train.step.micro_batch import with_micro_batch
from vxl.train.trainer import accelerator_of, device_of
from vxl.video.decoder.parallel import decoded_with
from vxl.vision.feature_cache import features_kept

if TYPE_CHECKING:  # late: Lightning takes seconds, and a finished run needs none of it
    from lightning.pytorch import Callback

    from vxl.train.saving.interrupt import Interrupt
    from vxl.train.step.data_module import DataModule


def prepare_data(config: TrainConfig, directory: RunDirectory) -> "DataModule":
    """The Lightning data module; its tokenizer is copied into the run."""
    with imported_for_good():
        from vxl.train.step.data_module import DataModule  # late: Lightning takes seconds

    data = DataModule(config)

    def prepare() -> None:
        data.prepare_data()
        with whole_folder(directory.path / "tokenizer", existing="replace") as folder:
            data.tokenizer.save_pretrained(folder)

    once(prepare)
    data.prepare_data()
    return data


def train_or_resume(
    config: TrainConfig,
    composed: str,
    console: Console | None = None,
    *,
    data_of: "Callable[[TrainConfig, RunDirectory], DataModule]" = prepare_data,
    start_of: Callable[[TrainConfig, int, Path | None, Processes], Start] = build_start,
    opening: Callable[
        [TrainConfig, torch.device, int | None, Console, bool], Recomputing | None
    ] = open_training,
    lacking: Callable[[TrainConfig, torch.device], None] = refuse_absent,
) -> Result:
    """Trains what a config says, or goes on with it, or says that it is done.

    Args:
        config: A checked config.
        composed: The composed YAML, kept in the run directory.
        console: Where progress and the closing table go.
        data_of: Makes the data.
        start_of: Makes the model, with the weights that a new run starts from; a checkpoint fills a resumed
            one later.
        opening: Says first what is trained, refuses a model that does not fit into memory, and decides what
            memory decides; replaced together with `start_of` where the config does not describe the model.
        lacking: Refuses what this machine lacks, before there is a directory; replaced with `opening`.

    Returns:
        The run's result, which also stands in RESULT.json.

    Raises:
        VxlError: What a user can mend: config, data, checkpoint, a loss that is no number.
        SystemExit: The run was interrupted; a checkpoint is saved (status 130, or 143 for SIGTERM).
    """
    cuda = accelerator_of(config.trainer) == "gpu"
    swept = config.sweep_name is not None and not is_submitted()
    with (
        patience_of(config.data.patience, "data.patience"),
        decoded_with(config.data.threads),
        features_kept(config.data.cache, config.paths.cache, config.data.cache_gib),
        threads_of(config.trainer.threads),
        join_processes(config.trainer, cuda, swept) as processes,
        name_a_lost_worker(),
    ):
        console = console if console is not None and processes.first else Screen(quiet=not processes.first)
        seed_everything(config.seed)
        device = device_of(config.trainer, processes.local)
        if status_of(config) in ("new", "resume"):
            lacking(config, device)
        with (
            open_run_directory(config, composed, processes) as directory,
            logged_to(directory.log, console, processes.first),
        ):
            if directory.status == "finished":
                return say_finished(directory, config, console)
            with name_a_full_disk(directory.path):
                newest = once(lambda: newest_to_resume(directory.checkpoints))
                checkpoint = None if newest is None else newest.path
                announce(directory, checkpoint, console)
                room = least_free(config, device)
                decided = once(lambda: opening(config, device, room, console, checkpoint is not None))
                config = config if decided is None else decided.settle(config)
                data = data_of(config, directory)
                start = start_of(config, len(data.tokenizer), checkpoint, processes)
                from vxl.train.saving.interrupt import Interrupt  # late: Lightning takes seconds

                interrupt = Interrupt(waits_for_data=lambda: data.waits)
                with interrupt.until_the_end():
                    return fit(config, directory, processes, data, start, checkpoint, interrupt, console)


def fit(
    config: TrainConfig,
    directory: RunDirectory,
    processes: Processes,
    data: "DataModule",
    start: Start,
    checkpoint: Path | None,
    interrupt: "Interrupt",
    console: Console,
) -> Result:
    """Trains a model on a data module in an opened run directory, up to RESULT.json."""
    # late: Lightning takes seconds, and a finished run needs none of it
    from vxl.train.debug.profile import Profile
    from vxl.train.report.meter import StepMeter
    from vxl.train.report.progress import ProgressBar
    from vxl.train.report.throughput import flops_of, peak_of
    from vxl.train.report.validation import Validation
    from vxl.train.saving.checkpoints import Checkpoints
    from vxl.train.saving.interrupt import interrupted_as_such
    from vxl.train.step.module import VideoLanguageModule
    from vxl.train.step_end import StepEnd

    model, steps, frozen = start.model, config.trainer.max_steps, config.trainer.frozen
    device = device_of(config.trainer, processes.local)
    context = context_group(config.strategy.context)
    module = VideoLanguageModule(
        model, config.stage, config.optim, steps, config.seed, frozen, start.fill, context
    )
    if config.trainer.micro_batch == "auto":
        config = with_micro_batch(config, model, device)
        data = data.rebatched(config)
    counts = parameters_of(model)
    prose(console, start_line(processes, config, *counts))
    metrics = MetricsFile(directory.metrics)
    # Validations of step 0 come before the first step: without a checkpoint they are to be done again.
    once(lambda: metrics.cut(-1 if checkpoint is None else StepFolder(checkpoint).step))
    with opened_logger(config, directory, processes) as sink:
        peak = peak_of(device)
        flops = None if peak is None else flops_of(model, peak)
        compile_blocks(model, config.trainer.compile)
        meter = StepMeter(metrics, sink, config.trainer.log_every, flops)
        validation = Validation(
            sink, config.trainer.val_every, directory.path / "predictions", config.trainer.show
        )
        checkpoints = Checkpoints(directory.checkpoints, config.checkpoint, [directory.metrics])
        progress = ProgressBar(config.trainer.print_every, console)
        step_end = StepEnd(meter, validation, interrupt, checkpoints, progress)
        callbacks: list[Callback] = [step_end, meter, interrupt, checkpoints, progress]
        profile = None
        if config.debug.profile:
            place = directory.path / "profile" / ("" if processes.first else f"rank{processes.rank}")
            profile = Profile(place, config.debug.profile)
            callbacks = [profile.first, *callbacks, profile]
        trainer = build_trainer(config.trainer, build(config.strategy), processes, callbacks, directory.path)
        with interrupted_as_such():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)

        def summed() -> Result:
            return from_metrics(
                metrics,
                name=run_name(config),
                directory=directory.path,
                steps=trainer.global_step,
                samples=meter.samples,
                seconds=meter.seconds,
                visual_tokens_a_frame=meter.visual_tokens / meter.frames if meter.frames else None,
                parameters=counts,
                loss_steps=min(config.trainer.log_every, trainer.global_step),
            )

        if processes.first and profile is None and trainer.global_step >= steps:
            sought = objective(metrics, config.checkpoint.best, config.checkpoint.mode)
            reached = {} if sought is None else {"objective": sought}
            sink.facts({**final_numbers(summed()), **reached, "status": "finished"})
            sink.checkpoint(directory.checkpoints, trainer.global_step)
    once(directory.refuse_removed)
    if profile is not None:
        show_profile(profile, console)
        sys.exit(0)
    if interrupt.stopped is not None and trainer.global_step < config.trainer.max_steps:
        show_stopped(trainer.global_step, config, console)
        raise Stopped(interrupt.stopped)

    def conclude() -> Result:
        result = summed()
        result.write(directory.result)
        result.show(console, next_command(config))
        return result

    return once(conclude)


@contextlib.contextmanager
def open_run_directory(config: TrainConfig, composed: str, processes: Processes) -> Generator[RunDirectory]:
    """The run directory, locked by the first process; the others know what it found and write nothing."""
    directory = once(lambda: RunDirectory.open(config, composed))
    if processes.first:
        with directory:
            yield directory
    else:
        yield directory


@contextlib.contextmanager
def threads_of(threads: int | None) -> Generator[None]:
    """Inside, PyTorch computes on so many CPU threads; the next run of the process may want others."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int) -> None:
    """Seeds every generator, for whatever is drawn before the first step; steps seed themselves."""
    random.seed(seed)
    np.random.seed(seed_of(seed, "numpy") % 2**32)
    torch.manual_seed(seed)


def logged_settings(config: TrainConfig) -> dict[str, Any]:
    """The config as the logger shows it."""
    return without_noise(plain(config))


@contextlib.contextmanager
def opened_logger(config: TrainConfig, directory: RunDirectory, processes: Processes) -> Generator[Sink]:
    """The logger of a run; ended whatever happens, so that the next run of this process has its own."""
    if not processes.first:
        yield Csv(CsvConfig())
        return
    sink: Sink = build(
        config.logger,
        directory=directory.path,
        name=run_name(config),
        group=config.sweep_name or run_name(config).rpartition("/")[0] or None,
        settings=logged_settings(config),
    )
    code = 1
    try:
        yield sink
        code = 0
    finally:
        sink.finish(code)
