"""`logger=tensorboard`: Lightning's TensorBoardLogger beside metrics.csv, in the run's own folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from vxl.errors import ConfigError
from vxl.logger.base import LoggerConfig, Sink
from vxl.logger.prediction import Prediction, strip
from vxl.option.option import option
from vxl.option.words import flatten

if TYPE_CHECKING:  # late: Lightning takes seconds
    from lightning.pytorch.loggers import TensorBoardLogger


@dataclass(frozen=True, kw_only=True)
class TensorBoardConfig(LoggerConfig):
    """Curves, answers with frames and the table of settings, for `tensorboard --logdir runs`."""

    _target_: str = option("vxl.logger.tensorboard.TensorBoard", resumable=True)


class TensorBoard(Sink):
    """Event files in `RUN/tensorboard`; a resumed run goes on in the folder, from its checkpoint's step.

    Args:
        config: No keys so far.
        directory: The run directory.
        settings: The config as plain values, for TensorBoard's HPARAMS tab.
        **run: What other loggers use.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(
        self,
        config: TensorBoardConfig,
        *,
        directory: Path,
        settings: dict[str, Any] | None = None,
        **run: Any,
    ) -> None:
        try:
            import tensorboard  # noqa: F401  # late: tensorboard, an optional package
        except ModuleNotFoundError as error:
            raise ConfigError(
                "logger=tensorboard needs tensorboard, which is not installed.\n"
                "  without it:  logger=csv\n  install it:  pip install tensorboard"
            ) from error
        self._directory, self._settings = directory, settings or {}
        self._made: TensorBoardLogger | None = None

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        self._from(step).log_metrics(numbers, step)

    @override
    def facts(self, facts: dict[str, Any]) -> None:
        """The numbers among them become metrics of the HPARAMS tab, beside the settings."""
        numbers = {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}
        self._from(0).log_hyperparams(flatten(self._settings), numbers)

    @override
    def table(self, predictions: list[Prediction], step: int) -> None:
        """Each question's frames as a picture, and all of them as a table of text."""
        board = self._from(step).experiment
        rows = ["| key | answer | right | probability |", "|---|---|---|---|"]
        for prediction in predictions:
            rows.append(
                f"| {prediction.key} | {prediction.answer} | {prediction.right} "
                f"| {prediction.probability:.2f} |"
            )
            if len(prediction.frames_FCHW):
                picture_HWC = strip(prediction.frames_FCHW)
                board.add_image(f"val/{prediction.key}", picture_HWC, step, dataformats="HWC")
        board.add_text("val/predictions", "\n".join(rows), step)

    @override
    def finish(self, exit_code: int) -> None:
        """Writes what is not on disk yet, and closes the event file."""
        if self._made is not None:
            self._made.finalize("success" if exit_code == 0 else "failed")

    def _from(self, step: int) -> "TensorBoardLogger":
        """Lightning's logger, made when there is something to log: only then is it known from which step on
        an earlier start's events, which came after the checkpoint, no longer hold.
        """
        if self._made is None:
            from lightning.pytorch.loggers import TensorBoardLogger  # late: Lightning takes seconds

            again = any(self._directory.glob("tensorboard/events.*"))
            self._made = TensorBoardLogger(
                self._directory,
                name="",
                version="tensorboard",
                default_hp_metric=False,
                purge_step=step if again else None,
            )
        return self._made
