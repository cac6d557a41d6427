"""What may go wrong before a command is at work: Ctrl-C, and a Python that has not what vxl needs.

Ctrl-C while a command imports what it needs ends it at once, where Python would print a traceback.

Nothing is begun then that could be tidied up or told of, so the system's own answer to the signal is right:
the process ends by it, without a word (a shell calls that status 130). From `raise_interrupts` on, Ctrl-C
raises KeyboardInterrupt again. This file imports next to nothing, as it comes first.
"""

import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType


def end_at_interrupts() -> None:
    """Lets Ctrl-C end this process; where it is ignored (a shell did so in the background), it stays that."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def name_absent_packages() -> None:
    """Puts into words what a checkout's scripts meet first under a Python that is not its environment's."""
    sys.excepthook = _name_absent_package


def _name_absent_package(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    message = absent_package(error) if isinstance(error, ModuleNotFoundError) else None
    if message is None:
        sys.__excepthook__(kind, error, trace)
    else:
        sys.stderr.write(f"config error: {message}\n")


def absent_package(error: ModuleNotFoundError) -> str | None:
    """A message for any package that is absent where vxl itself is not installed; None where it is."""
    package = (error.name or "vxl").partition(".")[0]
    if package == "vxl":
        return None
    try:
        version("vxl")
    except PackageNotFoundError:
        return (
            f"{package} is not installed, nor is vxl, for {sys.executable}.\n"
            "  type  make train   or  pip install -e '.[train]'   or run it by the Python of .venv/bin"
        )
    return None


def raise_interrupts() -> None:
    """Takes `end_at_interrupts` back: the command is at work."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
