"""What identifies a run, and which keys of its config may change between two starts of it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vxl.option.moved import first, renewed
from vxl.option.option import Option
from vxl.option.rebuild import plain
from vxl.run.config import RunConfig

if TYPE_CHECKING:  # late: _typeshed is there for type checkers alone
    from _typeshed import DataclassInstance

# Keys that say where and how a run is started, not what it is.
_PLACES = {"cluster", "name", "paths", "on_existing", "dry_run", "debug", "sweep_name", "sweep_member"}
_ABSENT = "(absent)"


@dataclass(frozen=True)
class ConfigChange:
    """One key with two values."""

    key: str
    old: Any
    new: Any
    resumable: bool
    """Whether the run may go on all the same."""
    reason: str = ""
    """Why it may not, where that is not plain."""


def identity(config: RunConfig) -> dict[str, Any]:
    """The part of a config that makes a run the run it is: no places, no resumable keys; flat."""
    later = _defaults(config, later=True)
    flat = {key: value for key, value, resumable in _flat(config) if not resumable and key not in later}
    return {key: first(value) if key.endswith("_target_") else value for key, value in flat.items()}


def config_fingerprint(config: RunConfig) -> str:
    """Eight hex digits of what identifies a run."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(old: dict[str, Any], config: RunConfig) -> list[ConfigChange]:
    """Every key in which a run's recorded config and a new one differ.

    Args:
        old: The recorded config, as `resolved.yaml` has it.
        config: The new config, as dataclasses.

    Example:
        >>> from vxl.run.config import RunConfig
        >>> [found] = differences({"model": "tiny", "name": "a"}, RunConfig(model="small", name="b"))
        >>> found.key, found.old, found.new, found.resumable
        ('model', 'tiny', 'small', False)
    """
    before, now = _leaves(renewed(old)), list(_flat(config))
    free = {key for key, _, resumable in now if resumable}
    defaults = _defaults(config)
    present_keys = {key for key, _, _ in now}
    changed = [
        ConfigChange(key, before.get(key, _ABSENT), value, resumable)
        for key, value, resumable in now
        if before.get(key, _ABSENT) != value and not (key in defaults and key not in before)
    ]
    for key in before.keys() - present_keys:
        group = key.rpartition(".")[0]
        changed.append(ConfigChange(key, before[key], _ABSENT, f"{group}._target_" in free or _is_place(key)))
    changed = [difference for difference in changed if not _is_place(difference.key)]
    return sorted(_ruled(changed, before, {key: value for key, value, _ in now}), key=lambda d: d.key)


CONTEXT = "strategy.context"


def _ruled(changed: list[ConfigChange], old: dict[str, Any], new: dict[str, Any]) -> list[ConfigChange]:
    """Differences after the rules that a mark on a key can't express."""
    batch = ("data.batch", "trainer.accumulate", "trainer.devices", "trainer.num_nodes")
    # Processes that share rows are one of those that batches are for.
    sizes = [
        _product([values.get(key, 1) for key in batch]) // values.get(CONTEXT, 1) for values in (old, new)
    ]
    ruled = []
    for difference in changed:
        reason = ""
        if difference.key in (*batch, CONTEXT) and sizes[0] != sizes[1]:
            reason = f"the global batch would change from {sizes[0]} to {sizes[1]} rows"
        if difference.key == "trainer.max_steps" and difference.new < difference.old:
            reason = "only a larger number lets the run go on"
        if reason:
            difference = dataclasses.replace(difference, resumable=False, reason=reason)
        ruled.append(difference)
    return ruled


def _product(values: list[Any]) -> int:
    product = 1
    for value in values:
        product *= value if isinstance(value, int) else 1
    return product


def _is_place(key: str) -> bool:
    return key.partition(".")[0] in _PLACES


def _flat(config: "DataclassInstance", prefix: str = "", free: bool = False) -> list[tuple[str, Any, bool]]:
    """(dotted key, plain value, resumable) of every leaf."""
    leaves: list[tuple[str, Any, bool]] = []
    for field in dataclasses.fields(config):
        key = prefix + field.name
        value = getattr(config, field.name)
        resumable = free or field.metadata.get("resumable", False) or (not prefix and field.name in _PLACES)
        if dataclasses.is_dataclass(value):
            whole = isinstance(value, Option) and _target_is_free(value)
            leaves += _flat(value, f"{key}.", resumable or whole)
        elif isinstance(value, dict):
            leaves += [(k, v, resumable) for k, v in _leaves(plain(value), f"{key}.").items()]
        else:
            leaves.append((key, plain(value), resumable))
    return leaves


def _defaults(part: Any, *, later: bool = False, prefix: str = "") -> set[str]:
    """Keys that have their defaults; only those that came later (see `option`), if asked."""
    keys: set[str] = set()
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if not later or field.metadata.get("later"):
            has_factory = field.default_factory is not dataclasses.MISSING
            if value == (field.default_factory() if has_factory else field.default):
                leaves = _leaves({field.name: plain(value)}, prefix)
                keys |= leaves.keys()
                continue
        if dataclasses.is_dataclass(value):
            keys |= _defaults(value, later=later, prefix=f"{prefix}{field.name}.")
    return keys


def _target_is_free(value: Option) -> bool:
    """Whether a run may go on with another option of the group, and so with other keys."""
    mark = next(field for field in dataclasses.fields(value) if field.name == "_target_")
    return mark.metadata.get("resumable", False)


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
