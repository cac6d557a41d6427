"""Plug-ins: packages of a user's own whose parts and config files vxl accepts (`plugins=[mylab]`)."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from vxl.errors import ConfigError
from vxl.option.build import ALLOWED
from vxl.option.files import FOLDERS


def load_plugins(names: Sequence[str]) -> list[Path]:
    """Imports each package, allows its `_target_`s, and returns their config folders (PACKAGE/conf).

    To import a package is to execute it. So the names come from what the user typed (`plugins=[NAME]`), never
    from a file that came with a run or a folder of weights.

    Raises:
        ConfigError: A package can't be imported.
    """
    folders = []
    for name in names:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"plugins=[{name}]: {error}.\n  searched: {', '.join(p or '.' for p in sys.path[:4])}, …\n"
                f"  install it (pip install -e PATH) or begin with  PYTHONPATH=FOLDER_OF_{name}"
            ) from error
        ALLOWED.add(f"{name}.")
        places = getattr(package, "__path__", [])  # a plain module has no folder, and so no config files
        folders += [folder for place in places if (folder := Path(place) / "conf").is_dir()]
    FOLDERS.extend(folder for folder in folders if folder not in FOLDERS)
    return folders
