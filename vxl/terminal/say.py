"""Printing and logging: no escape sequence, control character or change of direction reaches a terminal.

Names in shards and lists, messages of servers, answers of a model and files of a run come from anybody. What
is printed goes through `say`, what rich draws through `Screen` (vxl/terminal/screen.py), and in a command
everything that is logged, and every traceback, through `guard_terminal`. A test finds who prints past them.
"""

import logging
import sys
import traceback
from types import TracebackType

from vxl.units import printable


def say(text: object, *, end: str = "\n", error: bool = False) -> None:
    """Prints a text as a terminal may show it.

    Args:
        text: The text.
        end: What follows it.
        error: Whether it goes to standard error.
    """
    stream = sys.stderr if error else sys.stdout
    stream.write(printable(str(text)) + end)
    stream.flush()


class PrintableRecord(logging.LogRecord):
    """A message that a terminal may show, whoever handles it."""

    def getMessage(self) -> str:
        """The message with its arguments filled in."""
        return printable(super().getMessage())


def guard_terminal() -> None:
    """Makes log messages and tracebacks of this process, and of those that it forks, printable."""
    logging.setLogRecordFactory(PrintableRecord)
    sys.excepthook = _show_printable


def _show_printable(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)), end="", error=True)
