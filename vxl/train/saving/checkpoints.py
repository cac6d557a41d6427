"""Writes checkpoints at step boundaries and keeps those that the retention rule names."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from vxl.atomic import sync
from vxl.checkpoint.step_folder import StepFolder, point_to, step_folders
from vxl.train.parallel.checkpoint_folders import CheckpointFolders, SaveOptions
from vxl.train.report.meter import StepReport
from vxl.train.saving.retention import RetentionConfig, best_step, steps_to_keep

log = logging.getLogger(__name__)


class Checkpoints(Callback):
    """Saves every few steps, after the last one, and when the run is interrupted.

    Args:
        parent: The run's `checkpoints` folder.
        config: When to save and what to keep.
        logs: Files of the run that only grow (metrics.csv): a resumed run counts on their rows up to the
            checkpoint, so they are on disk before it gets its name.
    """

    def __init__(self, parent: Path, config: RetentionConfig, logs: Sequence[Path] = ()) -> None:
        self.parent = parent
        self.config = config
        self.logs = logs
        self.scores: dict[int, float] = {}

    def after_step(self, trainer: Trainer, report: StepReport, stop: bool) -> None:
        """Saves if it is time.

        Args:
            trainer: Has just taken the step.
            report: The step, after its validation: of its metrics `checkpoint.best` chooses.
            stop: Whether the run is interrupted.
        """
        step, score = report.step, report.metric(self.config.best)
        if score is not None:
            self.scores[step] = score
        due = self.config.every and step % self.config.every == 0
        if due or stop or step == trainer.max_steps:
            self.save(trainer)
        else:
            self.scores.pop(step, None)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint of this step; when it is complete, points to it and removes what need not
        stay.
        """
        if trainer.is_global_zero:
            for file in filter(Path.exists, self.logs):
                sync(file)
        how = SaveOptions(self.config.background, partial(self.prune, dict(self.scores)))
        target = StepFolder.at(self.parent, trainer.global_step).path
        trainer.save_checkpoint(target, weights_only=False, storage_options=how)

    def prune(self, scores: dict[int, float], target: Path) -> None:
        """Points `last` and `best` to their checkpoints and removes those that need not stay; in the first
        process.

        Args:
            scores: The scores of the checkpoints, when this one was begun.
            target: The checkpoint, complete.
        """
        point_to(self.parent, "last", StepFolder(target))
        folders = {folder.step: folder for folder in step_folders(self.parent.parent)}
        best = best_step(list(folders), scores, self.config)
        if best is not None:
            point_to(self.parent, "best", folders[best])
        for step in folders.keys() - steps_to_keep(list(folders), scores, self.config):
            folders[step].remove()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        cast(CheckpointFolders, trainer.strategy).writer.wait()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # One that is being written is waited for: the next owner of the run directory will tidy it.
        try:
            cast(CheckpointFolders, trainer.strategy).writer.wait()
        except (Exception, SystemExit) as error:  # `exception` is what ends the run; this comes on top of it
            log.warning("%s", error)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"scores": dict(self.scores)}  # of the checkpoints, this one's too

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.scores = dict(state_dict["scores"])
