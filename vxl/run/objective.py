"""The one number that a search optimises: the best that a run reached of what `checkpoint.best` names."""

from vxl.run.metrics import MetricsFile


def objective(metrics: MetricsFile, name: str | None, mode: str) -> float | None:
    """The least or the greatest of a metric over a run, once it has learned; None where it was not measured.

    Args:
        metrics: The run's metrics.csv.
        name: `checkpoint.best`.
        mode: `checkpoint.mode`: min or max.
    """
    values = [value for step, value in metrics.values(name) if step > 0] if name else []
    return (min if mode == "min" else max)(values, default=None)
