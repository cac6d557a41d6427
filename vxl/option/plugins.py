"""Plug-ins: packages of a user's own whose parts and config files vxl accepts (`plugins=[mylab]`)."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from vxl.errors import ConfigError
from vxl.option.build import ALLOWED


def load_plugins(names: Sequence[str]) -> list[Path]:
    """Imports each package, allows its `_target_`s, and returns their config folders (PACKAGE/conf).

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
                f"  install it (pip install -e PATH) or type  PYTHONPATH=FOLDER_OF_{name} python train.py …"
            ) from error
        ALLOWED.add(f"{name}.")
        folders += [folder for place in package.__path__ if (folder := Path(place) / "conf").is_dir()]
    return folders
