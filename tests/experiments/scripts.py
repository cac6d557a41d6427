"""Scripts of experiments as modules, so that tests call their functions."""

import importlib.util
from pathlib import Path
from typing import Any


def as_module(path: Path) -> Any:
    """The module that a file is, run anew."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
