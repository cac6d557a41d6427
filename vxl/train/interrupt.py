"""Ctrl-C and SIGTERM: the step is finished, a checkpoint saved, and then the run stops."""

import os
import signal
import sys
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt(Callback):
    """Owns the signals while a run trains; a handler only notes them. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the signals (after Lightning took SIGTERM, which it would answer in the middle of a step)."""
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the signals back."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._restore()

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step; with several ranks, whether any of them was told to."""
        return bool(trainer.strategy.reduce_boolean_decision(self.requested is not None, all=False))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a data worker: it dies of SIGTERM as usual, and leaves Ctrl-C to us
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number)
        print(f"\n{self.requested.name}: saving at the end of this step …", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
