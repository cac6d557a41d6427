"""`logger=csv`: metrics.csv alone, which every run has."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from vxl.logger.base import LoggerConfig, Sink
from vxl.logger.prediction import Prediction
from vxl.option.option import option


@dataclass(frozen=True, kw_only=True)
class CsvConfig(LoggerConfig):
    """Only metrics.csv in the run directory, which every run has."""

    _target_: str = option("vxl.logger.csv.Csv", resumable=True)


class Csv(Sink):
    """Nothing beside metrics.csv, which is always written."""

    def __init__(self, config: CsvConfig, **run: Any) -> None:
        self.config = config

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        pass

    @override
    def table(self, predictions: list[Prediction], step: int) -> None:
        pass

    @override
    def finish(self, exit_code: int) -> None:
        pass
