"""Validation: loss and accuracy over held-out questions, before, while and after a run trains."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vxl.statistics import wilson
from vxl.train.report.predictions import Prediction, predictions, write
from vxl.train.report.watch import Watch
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.questions import answered
from vxl.train.step.stage import train_mode

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validated:
    """One validation in numbers."""

    loss: float
    """Mean over supervised tokens."""
    right: int
    """Questions answered rightly: argmax over the options' letters."""
    questions: int
    chance: float
    """Accuracy that guessing would have."""
    baseline: float | None = None
    """The loss that knowing nothing would have, where the objective has such a measure."""

    def numbers(self) -> dict[str, float]:
        """As metrics."""
        found = {"val/loss": self.loss}
        if self.baseline is not None:
            found["val/baseline"] = self.baseline
        if self.questions:
            interval = wilson(self.right, self.questions)
            found |= {
                "val/accuracy": self.right / self.questions,
                "val/accuracy_low": interval.low,
                "val/accuracy_high": interval.high,
                "val/questions": float(self.questions),
                "val/chance": self.chance,
            }
        return found


class Validation(Callback):
    """Validates at step boundaries, before the checkpoint of the same step is written.

    Lightning's own validation loop would run after that checkpoint, or leave it up to its restart logic
    whether it ran; here a checkpoint of step n always comes after the validation of step n, so that none is
    lost or done twice.

    Args:
        watch: Logs the numbers.
        every: Steps between validations; 0: only before the first and after the last step.
        folder: Where predictions are written; None for none.
        show: How many questions are shown with their answers.
    """

    def __init__(self, watch: Watch, every: int, folder: Path | None = None, show: int = 0) -> None:
        self.watch = watch
        self.every = every
        self.folder = folder
        self.show = show
        self.latest: dict[str, float] = {}
        """Metrics of the latest step, if it was validated."""
        self._loader: Iterable[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures where the run starts from."""
        if trainer.global_step == 0:
            self._run(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Validates if it is time."""
        step = trainer.global_step
        self.latest = {}
        if (self.every and step % self.every == 0) or step == trainer.max_steps:
            self._run(trainer, pl_module)

    def _run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loader is None:
            self._loader = cast(Any, trainer).datamodule.val_dataloader()
        if self._loader is None:
            return
        tokenizer = getattr(cast(Any, trainer).datamodule, "tokenizer", None)
        shown: list[Prediction] = []
        found = validate(
            trainer, cast(VideoLanguageModule, pl_module), self._loader, shown, self.show, tokenizer
        )
        self.latest = found.numbers()
        self.watch.record(trainer.global_step, self.latest)
        if shown and self.folder is not None and trainer.is_global_zero:
            write(self.folder, trainer.global_step, shown)
            self.watch.sink.table(shown, trainer.global_step)
        accuracy = self.latest.get("val/accuracy")
        log.info(
            "step %d: held-out loss %.4f%s%s",
            trainer.global_step,
            found.loss,
            "" if found.baseline is None else f" (baseline {found.baseline:.4f})",
            "" if accuracy is None else f", accuracy {accuracy:.3f} of {found.questions} questions",
        )
        self.watch.pause()


def validate(
    trainer: Trainer,
    module: VideoLanguageModule,
    loader: Iterable[Any],
    shown: list[Prediction] | None = None,
    show: int = 0,
    tokenizer: Any = None,
) -> Validated:
    """Loss and accuracy over a loader's batches, over all ranks; leaves the model and torch as they were.

    Args:
        trainer: Knows the ranks and the precision.
        module: Has the model.
        loader: The held-out batches.
        shown: Takes this rank's first `show` questions with the model's answers.
        show: How many.
        tokenizer: Writes the questions down.
    """
    model, device = module.model, module.device
    sums = torch.zeros(6, dtype=torch.float64)
    measured = False
    model.eval()
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.val_step_context():
        for batch in loader:
            moved = batch.to(device)
            output = model(moved)
            answers = answered(output, moved)
            if shown is not None and len(shown) < show:
                shown += predictions(batch, output, tokenizer, show - len(shown))
            guessed = sum(1 / len(letters) for letters in batch.letters_Q)
            baseline = getattr(output, "baseline_sum", None)
            measured = measured or baseline is not None
            seen = [float(output.loss_sum), batch.supervised, sum(answers), len(answers), guessed]
            seen.append(0.0 if baseline is None else float(baseline))
            sums += torch.tensor(seen, dtype=torch.float64)
    train_mode(model, module.stage)
    if trainer.world_size > 1:
        sums = trainer.strategy.reduce(sums.to(device), reduce_op="sum").cpu()  # type: ignore[union-attr]
    loss, supervised, right, questions, guessed, nothing = sums.tolist()
    tokens = max(1.0, supervised)
    baseline = nothing / tokens if measured else None
    return Validated(loss / tokens, int(right), int(questions), guessed / max(1.0, questions), baseline)
