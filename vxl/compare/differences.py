"""In which config keys members differ, as one would type them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vxl.evaluate.work.changes import BUDGETS
from vxl.option.words import as_typed, flatten

# Keys that differ between the members of a sweep without being what it compares.
_NOT_COMPARED = (
    "name",
    "sweep_name",
    "sweep_member",
    "dry_run",
    "on_existing",
    "paths",
    "logger",
    "debug",
    "cluster",
    "checkpoint",
)
# Nor these, which a run may go on with changed, and which change neither what it learns nor its measures.
_BESIDE = (
    "data.workers",
    "data.patience",
    "trainer.val_every",
    "trainer.show",
    "trainer.log_every",
    "trainer.print_every",
)


class Configs:
    """The configs of several runs.

    Args:
        configs: As resolved.yaml has them; empty for a run that failed before it had one.
    """

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        self.flat = [
            {
                key: value
                for key, value in flatten({k: v for k, v in config.items() if k not in _NOT_COMPARED}).items()
                if key not in _BESIDE
            }
            for config in configs
        ]

    def rows(self, evaluations: Sequence[tuple[int, str, str, dict[str, Any]]]) -> list[dict[str, str]]:
        """The differing keys of each evaluation with their values.

        A key that only some options have, with one value in all of these, is none, unless it is a budget.

        Args:
            evaluations: (number of its run, name of the run's folder, what the evaluation changed, the parts
                that it ran with, empty where that is not known).
        """
        changes = [changed(change) for _, _, change, _ in evaluations]
        keys = [*map(_short, differing([config for config in self.flat if config]))]
        keys += [key for change in changes for key in change if key not in keys]
        values_of_rows = [
            {
                key: change.get(key) or _of_parts(key, change, parts) or self._value(key, number, member)
                for key in dict.fromkeys(keys)
            }
            for (number, member, _, parts), change in zip(evaluations, changes, strict=True)
        ]
        exchanged = {key for change in changes for key in change}
        return [
            {k: v for k, v in row.items() if k not in exchanged or _differs(k, values_of_rows)}
            for row in values_of_rows
        ]

    def _value(self, key: str, number: int, member: str) -> str:
        """A key's value; of a member that failed before it had a config, what its name says."""
        config = self.flat[number]
        if f"{key}._target_" in config:
            return self._option(f"{key}._target_", config)
        if key in config:
            return as_typed(config[key])
        words = dict(part.split("=", 1) for part in member.split(",") if "=" in part)
        return words.get(last(key), "-" if config else "?")

    def _option(self, key: str, config: dict[str, Any]) -> str:
        """An option by its module, which is what one types; by its class where one module has several."""
        targets = {str(other[key]) for other in self.flat if key in other}
        modules = {target.rpartition(".")[0] for target in targets}
        parts = as_typed(config[key]).rpartition(".")
        return parts[0].rpartition(".")[2] if len(modules) == len(targets) else parts[2]


def changed(change: str) -> dict[str, str]:
    """What an evaluation changed, by key."""
    return dict(word.split("=", 1) for word in _words(change))


def _of_parts(key: str, change: Mapping[str, str], parts: Mapping[str, Any]) -> str | None:
    """The value of a key of an option that an evaluation chose; None: the evaluation did not choose it."""
    group, _, name = key.partition(".")
    if not name or group not in change or group not in parts:
        return None
    value = (parts[group] or {}).get(name)
    return "-" if value is None else as_typed(value)


def _differs(key: str, rows: Sequence[dict[str, str]]) -> bool:
    """Whether a key that evaluations changed tells them apart."""
    values = {row[key] for row in rows}
    group, _, name = key.partition(".")
    if name and name not in BUDGETS and group in rows[0]:
        values.discard("-")  # of options that have no such key: these, the option tells apart
    return len(values) > 1


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The flat keys that every config has and whose values are not all equal, in the configs' order."""
    if not configs:
        return []
    in_all = [key for key in configs[0] if all(key in config for config in configs)]
    return [key for key in in_all if any(config[key] != configs[0][key] for config in configs)]


def last(key: str) -> str:
    """`ratio` of `compressor.ratio`, as in a member's name."""
    return key.rpartition(".")[2]


def _short(key: str) -> str:
    """`compressor.ratio` as it is typed; a part's class under the part's own name."""
    return key.removesuffix("._target_")


def _words(change: str) -> list[str]:
    """`kv=snapkv,video.max_frames=8` as words; a comma inside a value goes on with it."""
    words: list[str] = []
    for part in change.split(","):
        if "=" in part or not words:
            words.append(part)
        else:
            words[-1] += f",{part}"
    return [word for word in words if "=" in word]
