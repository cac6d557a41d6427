"""Which runs a list shows, and in which order: `status=failed model=videoxl2 since=2d sort=-val/accuracy`."""

import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vxl.errors import ConfigError
from vxl.option.rebuild import nearest
from vxl.option.words import as_typed, flatten
from vxl.run.find import Run, Status

FILTERS = ("status", "since", "sort")
"""Keys with a meaning of their own; every other is one of the runs' configs."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SORTS: dict[str, Callable[[Run], Any]] = {
    "age": lambda run: run.age,
    "name": lambda run: run.name,
    "status": lambda run: run.status,
    "step": lambda run: float(run.step),
    "size": lambda run: float(run.size),
}


def chosen(runs: Sequence[Run], filters: Mapping[str, str]) -> list[Run]:
    """The runs that pass every filter, in their order.

    Args:
        runs: Some runs.
        filters: `status`, `since`, and keys of the runs' configs with values (`kv=snapkv`, `kv.keep=0.5`).

    Raises:
        ConfigError: A filter has a value that it can't have, or no run has such a key.
    """
    left = list(runs)
    for key, value in filters.items():
        if key == "status":
            allowed = typing.get_args(Status)
            if value not in allowed:
                raise ConfigError(f"status={value} does not exist.\n  one of: {', '.join(allowed)}")
            left = [run for run in left if run.status == value]
        elif key == "since":
            limit = seconds_of(value)
            left = [run for run in left if run.age <= limit]
        else:
            configs = [flatten(run.config) for run in runs]
            known = {name.removesuffix("._target_") for config in configs for name in config}
            if runs and key not in known:
                close = nearest(key, [*FILTERS, *known])
                hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
                raise ConfigError(
                    f"{key}={value}: no run's config has such a key.{hint}\n"
                    f"  settings: {', '.join(FILTERS)}, paths.runs, and keys of runs (model=tiny, kv=snapkv)"
                )
            left = [run for run in left if _value(flatten(run.config), key) == value]
    return left


def ordered(runs: Sequence[Run], by: str | None) -> list[Run]:
    """The runs sorted by a number of theirs, the greatest first where it begins with `-`.

    Args:
        runs: Some runs.
        by: age, name, status, step, size, or a metric of theirs (see `number`); None leaves them as they are.

    Raises:
        ConfigError: No run has such a metric.
    """
    if by is None:
        return list(runs)
    key, turned = by.removeprefix("-"), by.startswith("-")
    if key in _SORTS:
        return sorted(runs, key=_SORTS[key], reverse=turned)
    values = {run.name: number(run, key) for run in runs}
    if runs and all(value is None for value in values.values()):
        known = [*_SORTS, *dict.fromkeys(name for run in runs for name in run.metrics)]
        close = nearest(key, known)
        hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"sort={by}: no run has that number.{hint}\n  e.g.  sort=loss   sort=-val/accuracy")
    sign = -1 if turned else 1
    return sorted(
        runs, key=lambda run: math.inf if (value := values[run.name]) is None else sign * value
    )  # a run without it comes last


def is_metric(by: str | None) -> bool:
    """Whether a list is sorted by a number that it does not show anyway."""
    return by is not None and by.removeprefix("-") not in _SORTS


def number(run: Run, name: str) -> float | None:
    """A run's number by its name in RESULT.json, else the latest in metrics.csv; None where it has none."""
    value = (run.result or {}).get(name, run.metrics.get(name))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None and not math.isnan(value) else None


def seconds_of(text: str) -> float:
    """`2d`, `12h`, `30min` in seconds.

    Raises:
        ConfigError: It is none of these.

    Example:
        >>> seconds_of("2d")
        172800.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d|w)", text)
    if match is None:
        raise ConfigError(f"{text} is no time.\n  e.g.  30min   12h   2d   1w")
    return float(match[1]) * _SECONDS[match[2]]


def _value(config: Mapping[str, object], key: str) -> str | None:
    """A key's value as one types it; a group's is the name of its option."""
    target = config.get(f"{key}._target_")
    if target is not None:
        return str(target).split(".")[-2]
    return as_typed(config[key]) if key in config else None
