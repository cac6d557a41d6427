"""Validation: loss and accuracy over held-out questions, before, while and after a run trains."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning.pytorch import Trainer

from vxl.data.batch.collate import Batch
from vxl.logger.base import Sink
from vxl.logger.prediction import Prediction
from vxl.statistics import wilson
from vxl.train.report.predictions import predictions, write_predictions
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.questions import right_answers
from vxl.train.step.stage import train_mode
from vxl.units import percent

log = logging.getLogger(__name__)


class Batches(Protocol):
    """Batches whose number is known, such as a DataLoader's."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class HeldOutData(Protocol):
    """What validation asks of Lightning's data module."""

    tokenizer: Any
    """Writes questions down; None leaves them empty."""

    def val_dataloader(self) -> Batches | None:
        """The held-out batches in a fixed order; None without any."""
        ...


@dataclass(frozen=True)
class HeldOutScores:
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

    def metrics(self) -> dict[str, float]:
        """By their names in metrics.csv; accuracies with Wilson's 95 % interval."""
        metrics = {"val/loss": self.loss}
        if self.baseline is not None:
            metrics["val/baseline"] = self.baseline
        if self.questions:
            interval = wilson(self.right, self.questions)
            metrics |= {
                "val/accuracy": self.right / self.questions,
                "val/accuracy_low": interval.low,
                "val/accuracy_high": interval.high,
                "val/questions": float(self.questions),
                "val/chance": self.chance,
            }
        return metrics


class Validation:
    """Measures the held-out loss and accuracy, and shows some questions with the model's answers.

    Lightning's own validation loop would run after the checkpoint of the same step, or leave it up to its
    restart logic whether it ran; vxl.train.step_end validates before, so that none is lost or done twice.

    Args:
        sink: The logger, which gets the questions.
        every: Steps between validations; 0: only before the first and after the last step.
        folder: Where predictions are written; None for none.
        show: How many questions are shown with their answers.
    """

    def __init__(self, sink: Sink, every: int, folder: Path | None = None, show: int = 0) -> None:
        self.sink = sink
        self.every = every
        self.folder = folder
        self.show = show
        self._loader: Batches | None = None

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to validate after a step, of so many."""
        return bool(self.every and step % self.every == 0) or step == steps

    def validate(self, trainer: Trainer, module: VideoLanguageModule) -> dict[str, float]:
        """Validates the model as it is now; the metrics, or none without held-out samples."""
        data = cast(HeldOutData, cast(Any, trainer).datamodule)
        if self._loader is None:
            self._loader = data.val_dataloader()
        if self._loader is None:
            return {}
        predictions_shown: list[Prediction] = []
        scores = validate(trainer, module, self._loader, predictions_shown, self.show, data.tokenizer)
        metrics = scores.metrics()
        if predictions_shown and self.folder is not None and trainer.is_global_zero:
            write_predictions(self.folder, trainer.global_step, predictions_shown)
            self.sink.table(predictions_shown, trainer.global_step)
        accuracy = metrics.get("val/accuracy")
        log.info(
            "step %d: held-out loss %.4f%s%s",
            trainer.global_step,
            scores.loss,
            "" if scores.baseline is None else f" (baseline {scores.baseline:.4f})",
            "" if accuracy is None else f", accuracy {percent(accuracy)} of {scores.questions} questions",
        )
        return metrics


def validate(
    trainer: Trainer,
    module: VideoLanguageModule,
    loader: Batches,
    examples: list[Prediction] | None = None,
    show: int = 0,
    tokenizer: Any = None,
) -> HeldOutScores:
    """Loss and accuracy over a loader's batches, over all ranks; leaves the model and torch as they were.

    Args:
        trainer: Knows the ranks and the precision.
        module: Has the model.
        loader: The held-out batches.
        examples: Takes `show` of this rank's questions with the model's answers, spread over all batches.
        show: How many.
        tokenizer: Writes the questions down.
    """
    model, device = module.model, module.device
    sums = torch.zeros(6, dtype=torch.float64)
    has_baseline = False
    model.eval()
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.val_step_context():
        for number, batch in enumerate(loader, 1):
            on_device = batch.to(device)
            output = model(on_device)
            answers = right_answers(output, on_device)
            # The longest come first: the first batches alone would show the questions of few videos.
            due = 0 if examples is None else -(-show * number // len(loader)) - len(examples)
            if examples is not None and due > 0:
                examples += predictions(batch, output, tokenizer, due)
            guessed = sum(1 / len(letters) for letters in batch.letters_Q)
            baseline = output.baseline_sum
            has_baseline = has_baseline or baseline is not None
            of_batch = [float(output.loss_sum), batch.supervised, sum(answers), len(answers), guessed]
            of_batch.append(0.0 if baseline is None else float(baseline))
            sums += torch.tensor(of_batch, dtype=torch.float64)
    train_mode(model, module.stage)
    if not module.counts:  # processes that share rows have measured the same
        sums.zero_()
    if trainer.world_size > 1:
        sums = trainer.strategy.reduce(sums.to(device), reduce_op="sum").cpu()  # type: ignore[union-attr]
    loss, supervised, right, questions, guessed, nothing = sums.tolist()
    tokens = max(1.0, supervised)
    baseline = nothing / tokens if has_baseline else None
    return HeldOutScores(loss / tokens, int(right), int(questions), guessed / max(1.0, questions), baseline)
