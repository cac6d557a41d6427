"""Rules that span several keys are applied together: whoever breaks two hears of both."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vxl.errors import ConfigError

if TYPE_CHECKING:  # late: PyAV and Pillow, and --help needs none of them
    from vxl.train.config import TrainConfig

Rule = Callable[["TrainConfig"], Iterator[str]]
"""From the config of a training to its problems; each names what was got, what is allowed, and a command that
works."""


def apply_rules(rules: Sequence[Rule], config: "TrainConfig") -> None:
    """Applies every rule.

    Raises:
        ConfigError: All the problems that the rules found, one below the other.
    """
    problems: list[str] = []
    for rule in rules:
        try:
            problems += rule(config)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n\n".join(dict.fromkeys(problems)))
