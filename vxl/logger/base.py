"""What a logger is given: numbers by step, facts of the run, tables, pictures, checkpoints and answers."""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.logger.prediction import Prediction
from vxl.option.option import Option


@dataclass(frozen=True, kw_only=True)
class LoggerConfig(Option):
    """Keys of every logger (none so far): a run may go on under another one."""


class Sink(abc.ABC):
    """Takes a run's numbers as they come."""

    @abc.abstractmethod
    def log(self, numbers: dict[str, float], step: int) -> None:
        """Takes the numbers of one step."""

    def facts(self, facts: dict[str, Any]) -> None:
        """Takes what is said once about the whole run; most loggers have no place for it."""
        return

    def show(self, tables: dict[str, list[dict[str, Any]]], pictures: dict[str, Path]) -> None:
        """Takes tables, whose cells may be paths of pictures, and pictures by name."""
        return

    def checkpoint(self, folder: Path, step: int) -> None:
        """Takes the finished run's checkpoints."""
        return

    @abc.abstractmethod
    def table(self, predictions: list[Prediction], step: int) -> None:
        """Takes some held-out questions with the model's answers."""

    @abc.abstractmethod
    def finish(self, exit_code: int) -> None:
        """Says that no more come. Always called, or a second run of this process would share the first's."""
