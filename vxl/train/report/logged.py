"""What a logger gets of a run: its config without noise, its choices by name, its final numbers."""

import dataclasses
from typing import Any

from vxl.run.result import Result

NOISE = ("dry_run", "on_existing", "paths", "debug", "logger", "cluster", "sweep_name", "sweep_member")
"""Keys that say where and how a run was started, not what it is."""


def without_noise(values: dict[str, Any]) -> dict[str, Any]:
    """A config for a dashboard: keys as one types them, and `choices.kv=snapkv` for each group.

    Args:
        values: The resolved config, nested.
    """
    kept = {name: value for name, value in values.items() if name not in NOISE}
    choices = {
        name: str(value["_target_"]).split(".")[-2]
        for name, value in kept.items()
        if isinstance(value, dict) and "." in str(value.get("_target_", ""))
    }
    return _without_targets(kept) | {"choices": choices}


def final_numbers(result: Result) -> dict[str, Any]:
    """RESULT.json as flat numbers for a summary; what is not known is left out."""
    values = dataclasses.asdict(result)
    low, high = values.pop("heldout_interval") or (None, None)
    values |= {"heldout_low": low, "heldout_high": high}
    names = ("name", "directory")
    return {f"final/{k}": v for k, v in values.items() if v is not None and k not in names}


def _without_targets(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {k: _without_targets(v) for k, v in values.items() if k != "_target_"}
