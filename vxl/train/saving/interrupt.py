"""Signals: the step is finished, a checkpoint saved, and then the run stops, or goes back into the queue."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from vxl.errors import GOES_ON
from vxl.terminal.say import say
from vxl.train.launch.handover import Stopped

# In the order of their weight: where several come, or one rank hears this and another that, the last counts.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# One that is of no other use: a timer wakes the main thread by it, wherever that waits.
_REMINDER = signal.SIGURG
# Seconds that data may still take to come after a signal; then the run stops without a step's end.
GRACE = 10.0


class Interrupt(Callback):
    """Owns the signals while a run trains; a handler only notes them. A second Ctrl-C stops at once.

    While the trainer waits for data no step comes to its end. If the data does not come either, the run stops
    as it is: its last checkpoint stands.

    Args:
        waits_for_data: Whether the trainer is waiting for data now.
    """

    def __init__(self, waits_for_data: Callable[[], bool] = lambda: False) -> None:
        self.waits_for_data = waits_for_data
        self.requested: signal.Signals | None = None
        """The signal that this process got."""
        self.stopped: signal.Signals | None = None
        """What all ranks agreed to stop for."""
        self._ended = False
        self._owner = os.getpid()
        self._later: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # After Lightning took SIGTERM, which it would answer in the middle of a step.
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        self._before[_REMINDER] = signal.signal(_REMINDER, self._still_waiting)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = True
        self._restore(but=signal.SIGINT)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    @contextlib.contextmanager
    def until_the_end(self) -> Generator[None]:
        """Inside, a run trains and writes its results, which a first Ctrl-C does not tear; it is obeyed then.

        Raises:
            KeyboardInterrupt: One came, and the run has come to its end before it.
        """
        try:
            yield
        finally:
            self._restore()
        if self.requested == signal.SIGINT:  # the rest of a sweep or recipe is to stop
            raise KeyboardInterrupt(self.requested.name)

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step: a rank that got a signal stops all of them."""
        signal_number = -1 if self.requested is None else _SIGNALS.index(self.requested)
        if trainer.world_size > 1:
            mine = torch.tensor(signal_number, device=trainer.strategy.root_device)
            all_said = trainer.strategy.reduce(mine, reduce_op="max")
            signal_number = int(all_said.item()) if isinstance(all_said, Tensor) else int(all_said)
        self.stopped = None if signal_number < 0 else _SIGNALS[signal_number]
        return self.stopped is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a data worker in its first moments (then see vxl.data.order.worker)
        incoming = signal.Signals(number)
        if self.requested is not None and incoming == signal.SIGINT:
            self._kill_data_workers()
            raise KeyboardInterrupt
        if self.requested is None or _SIGNALS.index(incoming) > _SIGNALS.index(self.requested):
            self.requested = incoming
        now = "writing the results first" if self._ended else "saving at the end of this step"
        say(f"\n{incoming.name}: {now} …", error=True)
        if self.waits_for_data():
            self._later = threading.Timer(GRACE, _remind)
            self._later.daemon = True
            self._later.start()

    def _still_waiting(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner or self.requested is None or not self.waits_for_data():
            return
        say(f"no data for {GRACE:.0f} s: stopped as it is; {GOES_ON}", error=True)
        self._kill_data_workers()
        raise Stopped(self.requested)

    def _kill_data_workers(self) -> None:
        """A loader would wait some seconds for each of those that hang, and report them as lost."""
        self._before.setdefault(signal.SIGCHLD, signal.signal(signal.SIGCHLD, signal.SIG_DFL))
        for child in multiprocessing.active_children():
            if child.daemon:
                child.kill()

    def _restore(self, but: signal.Signals | None = None) -> None:
        if self._later is not None:
            self._later.cancel()
        for number in [number for number in self._before if number != but]:
            signal.signal(number, self._before.pop(number))


@contextlib.contextmanager
def interrupted_as_such() -> Generator[None]:
    """Inside, a Ctrl-C that Lightning gets (the loop has ended, or a second one came) stays a Ctrl-C.

    Lightning would end the process by SystemExit(1) without a word, and ignore every later Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended, Stopped) or not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise ended.__context__ from None


def _remind() -> None:
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, _REMINDER)
