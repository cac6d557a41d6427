"""What every command does first: clean what it prints, keep libraries quiet, hear each Ctrl-C."""

import logging
import os

from vxl.terminal.interrupts import keep_interrupts
from vxl.terminal.say import guard_terminal

UNHEARD = {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Of the environment; read when torch is imported: the profiler's own lines, DDP's advice."""
LOGGERS = ("torchao", "torch.utils._pytree")
"""torchao, which transformers imports where it is, warns of each kernel of other cards, and of its enums."""


def begin_command() -> None:
    """Makes this process, and those that it forks, a command's; before torch is imported."""
    guard_terminal()
    quiet_libraries()
    keep_interrupts()


def quiet_libraries() -> None:
    """Keeps off the screen what libraries say of themselves; what the environment says already stands."""
    for name, level in UNHEARD.items():
        os.environ.setdefault(name, level)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
