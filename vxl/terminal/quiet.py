"""What libraries print about themselves stays off the screen: it is not about the run."""

import logging
import os

UNHEARD = {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Of the environment; read when torch is imported: the profiler's own lines, DDP's advice."""
LOGGERS = ("torchao", "torch.utils._pytree")
"""torchao, which transformers imports where it is, warns of each kernel of other cards, and of its enums."""


def quiet_libraries() -> None:
    """For the start of a command, before torch is imported; what the environment says already stands."""
    for name, level in UNHEARD.items():
        os.environ.setdefault(name, level)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
