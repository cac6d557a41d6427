"""What a data worker does about signals and errors: it leaves them to its trainer.

A trainer saves and stops at the end of a step. SLURM and a terminal send their signals to whole groups
of processes. A worker that died of one would make its trainer fail within a step, before it could save.
"""

import atexit
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from functools import cache, partial
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from vxl.data.order.whereabouts import Whereabouts
from vxl.errors import GOES_ON, LostError, VxlError
from vxl.patience import set_patience
from vxl.store import in_use, use
from vxl.video.decoder.parallel import Threads, decode_with, decoding_threads
from vxl.video.frame_cache import FrameCache

# Those that a group of processes gets, and the one by which a trainer reminds itself.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG)
# A worker's own patience ends first: then its error says which file was waited for.
AFTER_WORKER = 1.25


class Loader(DataLoader):
    """A DataLoader over `ErrorsAsItems`: errors for the user come as they were, a worker that hangs is named.

    Args:
        dataset: The data.
        patience: Seconds that a worker waits for a disk or server; the loader waits a little longer for it.
        **settings: Of DataLoader.
    """

    def __init__(self, dataset: IterableDataset, *, patience: float, **settings: Any) -> None:
        workers = settings["num_workers"]
        self._whereabouts = Whereabouts(workers)
        begin = partial(
            begin_worker,
            patience=patience,
            frames=in_use(FrameCache),
            threads=decoding_threads(),
            whereabouts=self._whereabouts,
        )
        timeout = AFTER_WORKER * patience if workers else 0
        super().__init__(dataset, timeout=timeout, worker_init_fn=begin, **settings)

    def __iter__(self) -> Iterator[Any]:  # ty: ignore[incompatible-method-override]
        items: Iterator[Any] = iter(())
        try:
            with signals_kept_back():
                items = super().__iter__()
            yield from self._of_workers(items)
        except (VxlError, OSError, EOFError, KeyboardInterrupt):
            _end(getattr(items, "_workers", ()))  # of an iterator in this process: none
            raise

    def _of_workers(self, items: Iterator[Any]) -> Iterator[Any]:
        turn = 0
        while True:
            try:
                with _alarm(1.1 * self.timeout, "DataLoader timed out"):
                    item = next(items)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
                raise LostError(self._hanging(turn % self.num_workers)) from error
            except (OSError, EOFError) as error:  # of a batch that is fetched from a worker as that dies
                raised_there = str(error).startswith("Caught ")  # in a worker, whatever became of others
                if raised_there or not _ends_soon(getattr(items, "_workers", ())):
                    raise
                raise LostError(lost_worker(f"a batch broke off ({type(error).__name__})")) from error
            if isinstance(item, VxlError):
                raise item
            yield item
            turn += 1  # workers are asked in turn

    def _hanging(self, worker: int) -> str:
        others = [self._whereabouts.of(other) for other in range(self.num_workers) if other != worker]
        where = "\n  beside it: ".join([self._whereabouts.of(worker), *others])
        return (
            f"a data worker has not finished its batch in {self.timeout:g} s: {where}\n"
            "  is its file read at all?  cat FILE > /dev/null   a disk or server may not answer\n"
            "  patience for slow ones:   data.patience=3600\n"
            f"  {GOES_ON}"
        )


def lost_worker(reason: str) -> str:
    """What to say of a data worker that died."""
    return (
        f"a data worker is gone: {reason}\n"
        "  if it was killed, memory may have run out:  fewer data.workers, a smaller data.batch\n"
        f"  then {GOES_ON}"
    )


def _ends_soon(workers: Iterable[BaseProcess]) -> bool:
    """Whether one of the workers is dead or dying: its connections are closed before it is gone."""
    sentinels = [worker.sentinel for worker in workers]
    return bool(sentinels and wait_for_any(sentinels, timeout=5.0))


@contextlib.contextmanager
def _alarm(seconds: float, reason: str) -> Generator[None]:
    """Raises RuntimeError in the main thread when its inside takes longer; 0: never.

    A loader's own timeout is for a batch that does not come. One that came is still fetched, tensor by
    tensor, from its worker, and if that was stopped meanwhile, the wait for it has no end.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise RuntimeError(reason)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ErrorsAsItems(IterableDataset):
    """Data whose last item is the error for the user that it ended with.

    What a worker raises, PyTorch makes a traceback's text of.
    """

    def __init__(self, data: IterableDataset) -> None:
        super().__init__()
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.data
        except VxlError as error:
            yield error

    def __len__(self) -> int:
        return len(self.data)  # ty: ignore[invalid-argument-type] (raises TypeError where it has none)


def begin_worker(
    worker: int, patience: float, frames: FrameCache | None, threads: Threads, whereabouts: Whereabouts
) -> None:
    """For a DataLoader's `worker_init_fn`: signals are left to the trainer; its patience, where it keeps
    frames and how it decodes are taken over."""
    set_patience(patience)
    use(FrameCache, frames)
    decode_with(threads)
    whereabouts.begin(worker)
    leave_signals_to_trainer(worker)


@contextlib.contextmanager
def signals_kept_back() -> Generator[None]:
    """Inside, where workers are forked, signals wait; each comes again at the end.

    What a handler raises around a fork is dropped by Python (a second Ctrl-C was ignored), or leaves a loader
    half made. A worker in its first moments leaves its signals to the trainer.
    """
    came: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only there may they be set
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: how for number, how in handlers.items() if how not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)
        for number in came:
            signal.raise_signal(number)


def leave_signals_to_trainer(worker: int) -> None:
    """Ignores the signals that a group of processes gets."""
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)

    def first(number: int, frame: FrameType | None) -> None:
        """Ignores it, but not the next one: a loader ends a worker that hangs by SIGTERM, too."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, first)


@cache
def end_with_trainer() -> None:
    """Ends the workers when this process does.

    Python asks them to by one SIGTERM, which they leave to the trainer, and would wait for them forever.
    """
    atexit.register(_end_workers)


def _end_workers() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _end(workers: Iterable[BaseProcess]) -> None:
    """Ends workers whose data ended with an error; one may hang, or wait for a disk.

    The error's traceback holds their iterator. When both are collected as garbage, in the midst of something
    else, the queues by which it asks its workers to end are collected first: it waited 10 s for each worker
    in vain, and left them alive.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only there may signals be set
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's raises at a worker that was killed
    try:
        for worker in workers:
            worker.kill()
            worker.join()
    finally:
        signal.signal(signal.SIGCHLD, before)
