"""Options: typed, frozen dataclasses beside the code they configure.

`conf/GROUP/NAME.yaml` names a class by `_target_`; the annotation of that class's `config` argument is
the schema of the file. So a part, its settings and their meaning stand in one file, and a plug-in's own
classes are typed and explained like vxl's.
"""

import ast
import dataclasses
import importlib
import inspect
import itertools
import textwrap
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any

from vxl.errors import ConfigError

# Import prefixes that a `_target_` may have; `plugins=[name]` adds to it (see vxl.config.plugins).
ALLOWED = {"vxl.", "torch.optim."}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a config group: the class to build and its settings."""

    _target_: str
    """Import path of the class that this option builds."""


def option(default: Any = dataclasses.MISSING, *, resumable: bool = False, **kwargs: Any) -> Any:
    """A dataclass field with vxl's marks.

    Args:
        default: The field's default (immutable; use `default_factory=` for lists and dicts).
        resumable: Whether a run may go on with another value of this key (it does not change the numbers).
        **kwargs: Passed on to `dataclasses.field`.
    """
    if default is not dataclasses.MISSING:
        kwargs["default"] = default
    return dataclasses.field(metadata={"resumable": resumable}, **kwargs)


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
    if not any(path.startswith(prefix) for prefix in ALLOWED):
        allowed = ", ".join(sorted(ALLOWED))
        raise ConfigError(
            f"_target_={path} is not allowed.\n  allowed prefixes: {allowed}\n"
            f"  for a package of your own add  plugins=[{path.split('.')[0]}]"
        )
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"_target_={path} can't be imported: {error}") from error


def takes_config(target: Any) -> bool:
    """Whether a target is of vxl's form `target(config, **runtime)`."""
    return "config" in inspect.signature(target).parameters


@cache
def schema_of(path: str) -> type[Option]:
    """The dataclass that types the option whose `_target_` is `path`.

    A target without a `config` argument (torch.optim) gets one made from its signature.
    """
    target = locate(path)
    if takes_config(target):
        function = target.__init__ if inspect.isclass(target) else target
        return typing.get_type_hints(function)["config"]
    fields = [
        (parameter.name, Any, dataclasses.field(default=parameter.default))
        for parameter in inspect.signature(target).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    ]
    made: Any = dataclasses.make_dataclass(
        f"{target.__name__}Config", fields, bases=(Option,), frozen=True, kw_only=True
    )
    return made


@cache
def meanings(schema: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, its bases' included: {field: meaning}."""
    found: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(base) or base.__module__ == "types":
            continue
        try:
            written = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        for field, text in itertools.pairwise(getattr(written, "body", [])):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                value = getattr(text.value, "value", None)
                if isinstance(field.target, ast.Name) and isinstance(value, str):
                    found[field.target.id] = inspect.cleandoc(value)
    return found
