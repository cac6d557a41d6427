"""Options: typed, frozen dataclasses beside the code they configure.

`conf/GROUP/NAME.yaml` names a class by `_target_`; the annotation of that class's `config` argument is
the schema of the file. So a part, its settings and their meaning stand in one file, and a plug-in's own
classes are typed and explained like vxl's.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from vxl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a config group: the class to build and its settings."""

    _target_: str
    """Import path of the class that this option builds."""

    @property
    def module(self) -> str:
        """The module of that class, which is called as the option is: `evs`."""
        return self._target_.split(".")[-2]


def option(
    default: Any = dataclasses.MISSING, *, resumable: bool = False, later: bool = False, **kwargs: Any
) -> Any:
    """A dataclass field with vxl's marks.

    Args:
        default: The field's default (immutable; use `default_factory=` for lists and dicts).
        resumable: Whether a run may go on with another value of this key (it does not change the numbers).
        later: Whether the key came after runs had been recorded without it. With its default it is then no
            part of what identifies a run, and a run that lacks it has the default.
        **kwargs: Passed on to `dataclasses.field`.
    """
    if default is not dataclasses.MISSING:
        kwargs["default"] = default
    return dataclasses.field(metadata={"resumable": resumable, "later": later}, **kwargs)


def refuse_below(lowest: float, settings: Any, *names: str) -> None:
    """Refuses settings that are too small; None is no number.

    Raises:
        ConfigError: One of `names` is below `lowest`.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < lowest:
            raise ConfigError(f"{name}={value} is too small.\n  expected: {lowest} or more")
