"""Which option of a group a resolved config holds, by the name that one types."""

from typing import Any

from vxl.option.files import option_files
from vxl.option.read_yaml import read_yaml
from vxl.option.words import flatten


def chosen_option(group: str, values: dict[str, Any]) -> str:
    """The option of the same class; of several, the one that sets the most keys to the values that they have.

    Args:
        group: `kv`.
        values: The group's part of a resolved config, with its `_target_`.

    Returns:
        Its name; of a class that no file names, its module's.
    """
    target, flat = str(values["_target_"]), flatten(values)
    same = {name: own for name, own in _values(group).items() if own.get("_target_") == target}
    equal = {
        name: sum(flat.get(key, _NONE) == value for key, value in own.items()) for name, own in same.items()
    }
    return max(equal, key=lambda name: equal[name]) if equal else target.split(".")[-2]


_NONE = object()


def _values(group: str) -> dict[str, dict[str, Any]]:
    """What each file of a group sets, flat; nothing of files that set keys of the whole config."""
    read = {name: read_yaml(file.read_text()) for name, file in option_files(group).items()}
    return {name: flatten(values) for name, values in read.items() if isinstance(values, dict)}
