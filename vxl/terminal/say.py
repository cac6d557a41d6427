"""Printing and logging: no escape sequence, control character or change of direction reaches a terminal.

Names in shards and lists, messages of servers, answers of a model and files of a run come from anybody. What
is printed goes through `say`, what rich draws through `Screen` (vxl/terminal/screen.py), and in a command
everything that is logged, and every traceback, through `guard_terminal`. A test finds who prints past them.
"""

import io
import logging
import re
import shutil
import sys
import textwrap
import traceback
from pathlib import Path
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


_COMMANDS = ("vxl", "python", "pip", "torchrun", "srun")
"""What a line begins with that is a command as a whole."""


class PrintableRecord(logging.LogRecord):
    """A message that a terminal may show, whoever handles it."""

    def getMessage(self) -> str:
        """The message with its arguments filled in."""
        return printable(super().getMessage())


def complain(text: str) -> None:
    """Prints a message on standard error, as `tell` does on standard output."""
    tell(text, error=True)


def tell(text: str, *, error: bool = False) -> None:
    """Prints a message with commands as they work here, fitted into the width of a terminal.

    Args:
        text: The message.
        error: Whether it goes to standard error.
    """
    text, stream = typed_here(text), sys.stderr if error else sys.stdout
    say(fitted(text, shutil.get_terminal_size().columns) if stream.isatty() else text, error=error)


def typed_here(text: str) -> str:
    """A text whose `python train.py` and `python evaluate.py` work where the user is.

    In a checkout they do; elsewhere the same is `vxl train` and `vxl evaluate`.
    """
    return _SCRIPT.sub(lambda call: call[0] if Path(f"{call[1]}.py").is_file() else f"vxl {call[1]}", text)


_SCRIPT = re.compile(r"\bpython (train|evaluate)\.py\b")


def fitted(text: str, width: int) -> str:
    """A message whose lines end between words, and never in a command, which is meant to be copied.

    An indented line that begins with a program is one, and what stands beside two spaces or more is whole:
    `  label:  command   (remark)` may end before the remark. A number and its unit stay together.

    Example:
        >>> print(fitted("  there are: one, two, three\\n  again:  python train.py seed=1", 22))
          there are: one, two,
            three
          again:
            python train.py seed=1
    """
    return "\n".join(part for line in text.split("\n") for part in _parts(line, width))


def _parts(line: str, width: int) -> list[str]:
    indent = len(line) - len(line.lstrip())
    further = " " * (indent + 2 * bool(indent))
    gaps = re.split(r"( {2,})", line.strip())
    if len(line) <= width or (indent and line.split()[0] in _COMMANDS):
        return [line]
    lines = textwrap.wrap(
        _UNIT.sub(_TOGETHER, " " * indent + gaps[0]),
        width,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [part.replace(_TOGETHER, " ") for part in lines]
    for gap, chunk in zip(gaps[1::2], gaps[2::2], strict=True):
        if len(lines[-1] + gap + chunk) <= width:
            lines[-1] += gap + chunk
        else:
            lines.append(further + chunk)
    return lines


_UNIT = re.compile(r"(?<=\d) (?=[A-Za-z%])|(?<=\d x) (?=\d)|(?<=\w) (?=[=<] \S)|(?<=\w [=<]) (?=\S)")
"""The space in `21.9 GiB` and those in `16 x 1 x 1` and `p = 1`."""
_TOGETHER = "\N{NO-BREAK SPACE}"


def guard_terminal() -> None:
    """Makes log messages and tracebacks of this process, and of those that it forks, printable.

    A letter that the terminal's encoding lacks (`PYTHONIOENCODING=ascii`, Latin-1) is a question mark there.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    logging.setLogRecordFactory(PrintableRecord)
    sys.excepthook = _show_printable


def _show_printable(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)), end="", error=True)
