"""Writes checkpoints at step boundaries and keeps those that the retention rule names."""

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from vxl.checkpoint import step_files as folder
from vxl.checkpoint.folder import saved, step_of
from vxl.train.parallel.checkpoint_folders import CheckpointFolders
from vxl.train.report.validation import Validation
from vxl.train.report.watch import Watch
from vxl.train.saving.interrupt import Interrupt
from vxl.train.saving.retention import RetentionConfig, best, kept

log = logging.getLogger(__name__)


class Checkpoints(Callback):
    """Saves every few steps, after the last one, and when the run is interrupted.

    Args:
        parent: The run's `checkpoints` folder.
        config: When to save and what to keep.
        validation: Has the metric by which the best is chosen.
        interrupt: Knows whether the run is to stop.
        watch: Its clock leaves out the time of saving.
    """

    def __init__(
        self,
        parent: Path,
        config: RetentionConfig,
        validation: Validation,
        interrupt: Interrupt,
        watch: Watch,
    ) -> None:
        self.parent = parent
        self.config = config
        self.validation = validation
        self.interrupt = interrupt
        self.watch = watch
        self.scores: dict[int, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time."""
        step = trainer.global_step
        value = {**self.watch.numbers, **self.validation.latest}.get(self.config.best or "")
        if value is not None:
            self.scores[step] = value
        stop = self.interrupt.agreed(trainer)
        due = self.config.every and step % self.config.every == 0
        if due or stop or step == trainer.max_steps:
            self.save(trainer)
            self.watch.pause()
        else:
            self.scores.pop(step, None)
        if stop:
            trainer.should_stop = True

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint of this step; when it is complete, points to it and removes what need not
        stay.
        """
        strategy = cast(CheckpointFolders, trainer.strategy)
        strategy.background = self.config.background
        strategy.saved = partial(self.settle, dict(self.scores))
        trainer.save_checkpoint(folder.folder_of(self.parent, trainer.global_step), weights_only=False)

    def settle(self, scores: dict[int, float], target: Path) -> None:
        """Keeps house after a checkpoint; in the first process.

        Args:
            scores: The scores of the checkpoints, when this one was begun.
            target: The checkpoint, complete.
        """
        folder.point(self.parent, "last", target)
        folders = {step_of(path): path for path in saved(self.parent.parent)}
        found = best(list(folders), scores, self.config)
        if found is not None:
            folder.point(self.parent, "best", folders[found])
        for step in folders.keys() - kept(list(folders), scores, self.config):
            folder.remove(folders[step])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waits for the last one."""
        cast(CheckpointFolders, trainer.strategy).writer.wait()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Waits for one that is being written: the run directory is about to be somebody else's to tidy."""
        try:
            cast(CheckpointFolders, trainer.strategy).writer.wait()
        except (Exception, SystemExit) as error:  # what ends the run is told; this comes on top of it
            log.warning("%s", error)

    def state_dict(self) -> dict[str, Any]:
        """The scores of the checkpoints, this one's too."""
        return {"scores": dict(self.scores)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on comparing."""
        self.scores = dict(state_dict["scores"])
