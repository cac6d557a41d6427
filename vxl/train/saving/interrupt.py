"""Signals: the step is finished, a checkpoint saved, and then the run stops, or goes back into the queue."""

import os
import signal
import sys
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

# In the order of their weight: where several come, or one rank hears this and another that, the last counts.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupt(Callback):
    """Owns the signals while a run trains; a handler only notes them. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        """The signal that this process got."""
        self.stopped: signal.Signals | None = None
        """What all ranks agreed to stop for."""
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # After Lightning took SIGTERM, which it would answer in the middle of a step.
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step: a rank that got a signal stops all of them."""
        said = -1 if self.requested is None else _SIGNALS.index(self.requested)
        if trainer.world_size > 1:
            mine = torch.tensor(said, device=trainer.strategy.root_device)
            all_said = trainer.strategy.reduce(mine, reduce_op="max")
            said = int(all_said.item()) if isinstance(all_said, Tensor) else int(all_said)
        self.stopped = None if said < 0 else _SIGNALS[said]
        return self.stopped is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a data worker in its first moments (then see vxl.data.order.worker)
        heard = signal.Signals(number)
        if self.requested is not None and heard == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is None or _SIGNALS.index(heard) > _SIGNALS.index(self.requested):
            self.requested = heard
        print(f"\n{heard.name}: saving at the end of this step …", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
