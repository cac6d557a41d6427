"""The object that an option names, if the allow-list has it."""

import dataclasses
import importlib
import inspect
from typing import Any

from vxl.errors import ConfigError
from vxl.option.moved import current
from vxl.option.option import Option

# Import prefixes that a `_target_` may have; `plugins=[name]` adds to it (see vxl.option.plugins).
ALLOWED = {"vxl.", "torch.optim."}
KNOWN: dict[str, Any] = {}
"""What needs no import, by its path: an exported model's own files (vxl.export.targets)."""


def build(config: Option, **runtime: Any) -> Any:
    """Makes the object that an option names: `_target_(config, **runtime)`.

    Raises:
        ConfigError: `_target_` is outside the allow-list or does not exist.
    """
    target = locate(config._target_)
    if takes_config(target):
        return target(config, **runtime)
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "_target_"}
    return target(**runtime, **settings)


def locate(path: str) -> Any:
    """Imports the class or function behind a `_target_`, if the allow-list has its prefix."""
    path = current(path)
    if path in KNOWN:
        return KNOWN[path]
    # A module named __main__ is a program: to import it is to run it.
    if not any(path.startswith(prefix) for prefix in ALLOWED) or "__" in path:
        allowed = ", ".join(sorted(ALLOWED))
        raise ConfigError(
            f"_target_={path} is not allowed.\n  allowed prefixes: {allowed}\n"
            f"  for a package of your own add  plugins=[{path.split('.')[0]}]"
        )
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"_target_={path} can't be imported: {error}") from error


def takes_config(target: Any) -> bool:
    """Whether a target is of vxl's form `target(config, **runtime)`."""
    return "config" in inspect.signature(target).parameters
