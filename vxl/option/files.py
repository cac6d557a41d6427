"""Where the config files lie: vxl's own, and those of the plug-ins that a command names."""

from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"
FOLDERS = [CONF]
"""Searched in this order; `vxl.option.plugins.load_plugins` adds to it."""


def option_files(group: str) -> dict[str, Path]:
    """The options of a config group, `conf/GROUP/NAME.yaml`, by name; the first folder that has one counts.

    Example:
        >>> option_files("kv")["snapkv"].name
        'snapkv.yaml'
        >>> option_files("no_such_group")
        {}
    """
    files_by_name: dict[str, Path] = {}
    for folder in FOLDERS:
        for file in sorted((folder / group).glob("*.yaml")):
            files_by_name.setdefault(file.stem, file)
    return dict(sorted(files_by_name.items()))
