"""The message that a command ends with: of vxl's own errors; of an absent package, a long name, a full disk.

The latter may come from anywhere in a command, and mean the same wherever they come from.
"""

import os
import stat
import sys
import traceback
from collections.abc import Sequence

from vxl.atomic import why_not
from vxl.errors import CheckpointError, ConfigError, DataError, VxlError
from vxl.faults import refused_by_disk
from vxl.option.extras import what_to_install
from vxl.terminal.at_start import absent_package
from vxl.terminal.say import say
from vxl.terminal.typed import name_too_long

KINDS = {ConfigError: "config ", DataError: "data ", CheckpointError: "checkpoint "}


def ending(
    error: Exception, words: Sequence[str], elsewhere: str = "paths.runs=FOLDER"
) -> tuple[str, int] | None:
    """The message and the exit status of a command that ends with an error; None for a fault of the code.

    Args:
        error: What was raised.
        words: Of the command line; with `debug=traceback` it is shown, too, where the error is from.
        elsewhere: What to type to write to another place.
    """
    if isinstance(error, VxlError):
        if "debug=traceback" in words:
            say("".join(traceback.format_exception(error)), error=True)
        kind = next((name for kind, name in KINDS.items() if isinstance(error, kind)), "")
        return f"{kind}error: {error}", error.status
    message = in_words(error, elsewhere)
    return None if message is None else (f"config error: {message}", 2)


def in_words(error: Exception, elsewhere: str = "paths.runs=FOLDER") -> str | None:
    """The message for an error that a command may end with; None for one that is a fault of the code.

    Args:
        error: What was raised.
        elsewhere: What to type to write to another place.
    """
    if isinstance(error, ModuleNotFoundError):
        return what_to_install(error) or absent_package(error)
    too_long = name_too_long(error) if isinstance(error, OSError) else None
    refused = refused_by_disk(error)
    if too_long is not None or refused is None:
        return too_long
    if refused.filename is None and _output_is_full():
        return f"the output can't be written: {why_not(refused, '> FILE')}"
    return f"{refused.filename or 'a file'} can't be written: {why_not(refused, elsewhere)}"


def _output_is_full() -> bool:
    """Whether standard output goes to a full disk; then what still waits for it goes nowhere.

    Python would else try once more at its end, and say so in its own words.
    """
    try:
        output = sys.stdout.fileno()
        goes_to_disk = stat.S_ISREG(os.fstat(output).st_mode)
        full = goes_to_disk and os.fstatvfs(output).f_bavail == 0
    except (OSError, ValueError):  # it is closed, or none of the system's
        return False
    if full:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output)
        os.close(nowhere)
    return full
