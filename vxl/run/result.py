"""RESULT.json, which a run writes last, and the short table that it ends with."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vxl.atomic import write_text
from vxl.errors import ConfigError
from vxl.run.metrics import MetricsFile
from vxl.table import facts
from vxl.units import percent


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of a run."""

    name: str
    directory: str
    steps: int
    samples: int
    seconds: float
    """Time spent in training steps, over all starts of the run."""
    loss_first: float | None
    """Training loss of the first step."""
    loss_last: float | None
    """Training loss, mean of the last `loss_steps` steps: the last row of metrics.csv."""
    train_accuracy: float | None
    """Accuracy over the last questions of the training data, each asked before it was learned from."""
    heldout_loss_first: float | None
    """Held-out loss before the first step."""
    heldout_loss: float | None
    """Held-out loss after the last step."""
    heldout_accuracy: float | None
    heldout_interval: tuple[float, float] | None
    """Wilson's 95 % interval of it."""
    heldout_questions: int
    chance: float | None
    """Accuracy of guessing."""
    visual_tokens_a_frame: float | None
    parameters: int
    trained_parameters: int
    loss_steps: int | None = None
    """Steps that loss_last is the mean of; None where a run from before did not say."""
    heldout_baseline: float | None = None
    """Held-out loss of knowing nothing, where the objective has such a measure."""

    def write(self, path: Path) -> None:
        """Writes it as JSON, atomically."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Result":
        """The result of a finished run.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            values = json.loads(path.read_text())
            field_names = {field.name for field in dataclasses.fields(cls)}
            arguments = {key: value for key, value in values.items() if key in field_names}
            if arguments.get("heldout_interval") is not None:
                arguments["heldout_interval"] = tuple(arguments["heldout_interval"])
            return cls(**arguments)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path} is damaged: {error}\n  write it anew:  rm {path}   and the same command again"
            ) from error

    def show(self, console: Console, then: str) -> None:
        """Prints the closing table and what to type next, if anything."""
        table: list[tuple[str, str]] = []
        over = f" (mean of the last {self.loss_steps} steps)" if (self.loss_steps or 1) > 1 else ""
        table.append(("training loss", f"{_number(self.loss_first)} -> {_number(self.loss_last)}{over}"))
        if self.train_accuracy is not None:  # the data hold questions with options
            table.append(("training accuracy", _percent(self.train_accuracy)))
        if self.heldout_loss is not None:
            first = _number(self.heldout_loss_first)
            beside = "" if self.heldout_baseline is None else f" (baseline {_number(self.heldout_baseline)})"
            table.append(("held-out loss", f"{first} -> {_number(self.heldout_loss)}{beside}"))
        if self.heldout_accuracy is not None:
            table.append(("held-out accuracy", self._heldout()))
        if self.visual_tokens_a_frame is not None:
            table.append(("visual tokens a frame", _number(self.visual_tokens_a_frame, "{:.3g}")))
        trained = f"{self.trained_parameters:,} of {self.parameters:,} parameters"
        table.append(("trained", f"{trained}, {self.steps} steps, {self.samples:,} samples"))
        table.append(("seconds", f"{self.seconds:.0f}"))
        table.append(("run directory", self.directory))
        console.print(facts(escape(f"run {self.name}"), [(name, escape(value)) for name, value in table]))
        if then:
            console.print(then, markup=False, highlight=False, soft_wrap=True)

    def _heldout(self) -> str:
        if self.heldout_accuracy is None or self.heldout_interval is None:
            return "-"
        low, high = self.heldout_interval
        return (
            f"{_percent(self.heldout_accuracy)} [{100 * low:.1f}, {100 * high:.1f}] "
            f"of {self.heldout_questions} questions (chance {_percent(self.chance)})"
        )


def from_metrics(
    metrics: MetricsFile,
    *,
    name: str,
    directory: Path,
    steps: int,
    samples: int,
    seconds: float,
    visual_tokens_a_frame: float | None,
    parameters: tuple[int, int],
    loss_steps: int | None = None,
) -> Result:
    """The result of a run whose numbers stand in metrics.csv.

    Args:
        metrics: The file: so a resumed run tells what an undisturbed one would.
        name: Name of the run.
        directory: Its directory.
        steps: Optimizer steps taken.
        samples: Samples trained on.
        seconds: Time spent training.
        visual_tokens_a_frame: Visual tokens by frames, over all samples.
        parameters: (all, trained).
        loss_steps: Steps that a row's loss is the mean of.
    """
    losses = [value for _, value in metrics.values("loss")]
    accuracy = metrics.values("accuracy")
    heldout = {name: metrics.values(f"val/{name}") for name in ("loss", "accuracy", "accuracy_low")}
    high, chance = metrics.values("val/accuracy_high"), metrics.values("val/chance")
    questions, baseline = metrics.values("val/questions"), metrics.values("val/baseline")
    return Result(
        name=name,
        directory=str(directory),
        steps=steps,
        samples=samples,
        seconds=seconds,
        loss_first=losses[0] if losses else None,
        loss_last=losses[-1] if losses else None,
        loss_steps=loss_steps,
        train_accuracy=accuracy[-1][1] if accuracy else None,
        heldout_loss_first=heldout["loss"][0][1] if heldout["loss"] else None,
        heldout_loss=heldout["loss"][-1][1] if heldout["loss"] else None,
        heldout_accuracy=heldout["accuracy"][-1][1] if heldout["accuracy"] else None,
        heldout_interval=(heldout["accuracy_low"][-1][1], high[-1][1]) if high else None,
        heldout_questions=int(questions[-1][1]) if questions else 0,
        chance=chance[-1][1] if chance else None,
        visual_tokens_a_frame=visual_tokens_a_frame,
        parameters=parameters[0],
        trained_parameters=parameters[1],
        heldout_baseline=baseline[-1][1] if baseline else None,
    )


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else percent(value)
