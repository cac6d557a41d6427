"""Ctrl-C while a command imports what it needs ends it at once, where Python would print a traceback.

Nothing is begun then that could be tidied up or told of, so the system's own answer to the signal is right:
the process ends by it, without a word (a shell calls that status 130). From `raise_interrupts` on, Ctrl-C
raises KeyboardInterrupt again. This file imports next to nothing, as it comes first.
"""

import signal


def end_at_interrupts() -> None:
    """Lets Ctrl-C end this process; where it is ignored (a shell did so in the background), it stays that."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_interrupts() -> None:
    """Takes `end_at_interrupts` back: the command is at work."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
