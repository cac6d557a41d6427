"""What a logger gets of a run: its config without noise, its choices by name, its final numbers."""

import dataclasses
from typing import Any

from vxl.option.chosen import chosen_option
from vxl.run.result import Result

NOISE = ("dry_run", "on_existing", "paths", "debug", "logger", "cluster", "sweep_name", "sweep_member")
"""Keys that say where and how a run was started, not what it is."""


def without_noise(values: dict[str, Any]) -> dict[str, Any]:
    """A config for a dashboard: keys as one types them, and `choices.kv=snapkv` for each group.

    There is one learning rate, `optim.lr`, which is in use: the stage's is what it was published with,
    and the optimizer's own is a default that parts never take.

    Args:
        values: The resolved config, nested.
    """
    settings = {name: value for name, value in values.items() if name not in NOISE}
    parts = {name: value for name, value in settings.items() if isinstance(value, dict)}
    choices = {name: chosen_option(name, part) for name, part in parts.items() if "_target_" in part}
    if stage := parts.get("stage"):
        choices["stage"] = stage.get("name")
        settings["stage"] = {name: value for name, value in stage.items() if name != "lr"}
    if optim := parts.get("optim"):
        own = {name: value for name, value in (optim.get("optimizer") or {}).items() if name != "lr"}
        settings["optim"] = optim | {"optimizer": own}
    return _without_targets(settings) | {"choices": {name: text for name, text in choices.items() if text}}


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
