"""FAILED.json: why a run has no result, for `vxl runs` and `vxl compare`; gone once it is started again."""

import contextlib
import json
from pathlib import Path

from vxl.atomic import write_text

FILE = "FAILED.json"


def reason(error: BaseException) -> str:
    """What an error says, or at least what it is."""
    return str(error) or type(error).__name__


def write_failure(directory: Path, error: BaseException) -> None:
    """Writes the file; where nothing can be written, the message on the screen has to do."""
    text = json.dumps({"error": reason(error), "type": type(error).__name__}, indent=1) + "\n"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / FILE, text)


def clear_failure(directory: Path) -> None:
    """Removes the file."""
    (directory / FILE).unlink(missing_ok=True)
