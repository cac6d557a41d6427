"""Reads plain values out of YAML that anybody may have written: `read_yaml`."""

from typing import Any

import yaml

_DEEPEST = 100  # of a config's levels; PyYAML's C code ends the process at some ten thousand


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # ten times as fast, where PyYAML has it
    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {_DEEPEST} levels deep")
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        self.depth -= 1
        super().ascend_resolver()


def read_yaml(text: str) -> Any:
    """The values of a YAML text: dicts, lists, strings, numbers, dates and None, and no objects of classes.

    Raises:
        yaml.YAMLError: It is no YAML, names classes, or is nested more than 100 levels deep.
        ValueError: It holds a number or date that there is not.

    Example:
        >>> read_yaml("keep: [0.25, 0.5]")
        {'keep': [0.25, 0.5]}
    """
    return yaml.load(text, _Loader)
