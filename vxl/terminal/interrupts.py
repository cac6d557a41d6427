"""A Ctrl-C that Python drops, or a package hides, is raised again: the command that it came to does stop.

Python runs a signal's handler wherever the main thread is. What the handler raises in a finalizer, or in what
is called around the fork of a data worker, is written down as ignored and goes no further. Packages that
clean up what is half done (OmegaConf) raise an error of their own in its place.
"""

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Generator
from typing import Any

from vxl.errors import ConfigError, VxlError
from vxl.terminal.at_start import raise_interrupts

# Seconds until it is raised again: time for the finalizer, or the fork, to come to its end.
SOON = 0.05


def keep_interrupts() -> None:
    """Makes this process, and those that it forks, raise each Ctrl-C: again, where it was dropped."""
    raise_interrupts()
    if getattr(sys.unraisablehook, "keeps_interrupts", False):
        return
    others = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            others(dropped)
            return
        with contextlib.suppress(KeyboardInterrupt):  # the next one may be here already
            _finish(dropped.object)
        again = threading.Timer(SOON, _interrupt_main)
        again.daemon = True
        with contextlib.suppress(RuntimeError):  # Python ends: it starts no thread any more
            again.start()

    hook.keeps_interrupts = True  # ty: ignore[missing-attribute]
    sys.unraisablehook = hook


@contextlib.contextmanager
def hidden_interrupts() -> Generator[None]:
    """Inside, an error that came of a Ctrl-C is one, but for those of ours that blame no config."""
    try:
        yield
    except Exception as error:
        ours = isinstance(error, VxlError) and not isinstance(error, ConfigError)
        if ours or not _came_of_an_interrupt(error):
            raise
        raise KeyboardInterrupt from error


def _came_of_an_interrupt(error: BaseException) -> bool:
    """Whether it was raised while a Ctrl-C was on its way."""
    seen: list[BaseException] = []
    before: BaseException | None = error
    while before is not None and before not in seen:
        if isinstance(before, KeyboardInterrupt):
            return True
        seen.append(before)
        before = before.__cause__ or before.__context__
    return False


def _finish(torn: Any) -> None:
    """Calls again what logging does behind a fork: torn, it keeps a lock that other threads wait for."""
    if torn is not None and torn is getattr(logging, "_releaseLock", None):  # of Python 3.12 and before
        with contextlib.suppress(RuntimeError):  # it had let go
            torn()


def _interrupt_main() -> None:
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)
