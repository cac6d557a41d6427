"""Signals to a whole group of processes leave data workers at work."""

import multiprocessing.util
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from vxl.data.order.worker import ErrorsAsItems, Loader, leave_signals_to_trainer
from vxl.errors import LostError


class Numbers(torch.utils.data.IterableDataset):
    def __iter__(self):
        for number in range(4):
            if number == 1:
                for heard in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
                    os.kill(os.getpid(), heard)
            yield number


class Hanging(torch.utils.data.IterableDataset):
    def __iter__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        yield 1


def loader(dataset):
    settings = {"num_workers": 1, "batch_size": None, "worker_init_fn": leave_signals_to_trainer}
    return torch.utils.data.DataLoader(dataset, **settings)


def test_a_worker_goes_on_after_the_signals_that_its_trainer_answers():
    assert [int(number) for number in loader(Numbers())] == [0, 1, 2, 3]


def test_but_it_can_be_ended():
    try:
        list(loader(Hanging()))
    except RuntimeError as error:
        assert "DataLoader worker" in str(error)  # noqa: PT017
    else:
        raise AssertionError("it went on")


@pytest.mark.slow
def test_a_process_that_fails_takes_its_workers_along() -> None:
    """The traceback holds the loader, so that nothing ends the worker before the interpreter does."""
    code = """
import sys
from torch.utils.data import DataLoader
from vxl.data.order.worker import end_with_trainer, leave_signals_to_trainer
end_with_trainer()
loader = iter(DataLoader(range(9), num_workers=1, worker_init_fn=leave_signals_to_trainer))
next(loader)
sys.held = loader
raise SystemExit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 3


AROUND_FORKS = {"before": 0, "behind": 0, "in the child": 0}
"""How often a Ctrl-C comes at each place of the next forks."""


def _ctrl_c(place: str) -> None:
    if AROUND_FORKS[place]:
        AROUND_FORKS[place] -= 1
        signal.raise_signal(signal.SIGINT)


os.register_at_fork(before=lambda: _ctrl_c("before"), after_in_parent=lambda: _ctrl_c("behind"))
multiprocessing.util.register_after_fork(_ctrl_c, lambda _: _ctrl_c("in the child"))


class StoppedBehindABatch(torch.utils.data.IterableDataset):
    """Whose worker is stopped, threads and all, when its second batch is not fetched yet."""

    def __iter__(self):
        yield torch.zeros(3)
        yield torch.ones(3)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_worker_that_is_stopped_before_its_batch_is_fetched_is_named():
    data = ErrorsAsItems(StoppedBehindABatch())
    batches = iter(Loader(data, patience=1.0, batch_size=None, num_workers=1))
    before = signal.getsignal(signal.SIGALRM)
    next(batches)
    time.sleep(1.0)
    with pytest.raises(LostError, match=r"a data worker has not finished its batch in 1\.25 s"):
        next(batches)
    assert signal.getsignal(signal.SIGALRM) is before
    assert not multiprocessing.active_children()


def _broken_off(worker: int, error: type[Exception]) -> None:
    """How a batch's tensors come whose worker dies as they are fetched: first its connections are closed."""
    threading.Timer(0.5, os.kill, (worker, signal.SIGKILL)).start()
    raise error


class BrokenOff:
    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __reduce__(self):
        return _broken_off, (os.getpid(), self.error)


class BreakingOff(torch.utils.data.IterableDataset):
    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error

    def __iter__(self):
        yield 0
        yield BrokenOff(self.error)
        time.sleep(60)


@pytest.mark.parametrize("error", [ConnectionResetError, ConnectionRefusedError, FileNotFoundError, EOFError])
def test_a_worker_that_dies_while_its_batch_is_fetched_is_said_to_be_gone(error):
    batches = iter(Loader(ErrorsAsItems(BreakingOff(error)), patience=60, batch_size=None, num_workers=1))
    assert next(batches) == 0
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's says it at once, if it is in time
    try:
        with pytest.raises(LostError, match=f"a data worker is gone: a batch broke off .{error.__name__}"):
            next(batches)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not multiprocessing.active_children()


class Forbidden(torch.utils.data.IterableDataset):
    """The first worker ends, and the other one can't go on."""

    def __iter__(self):
        yield 0
        info = torch.utils.data.get_worker_info()
        if info is None or info.id == 1:
            yield 1
            time.sleep(0.5)
            raise PermissionError("film.mp4")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_no_lost_worker(workers):
    began = time.monotonic()
    with pytest.raises(PermissionError, match=r"film\.mp4"):
        list(Loader(ErrorsAsItems(Forbidden()), patience=60, batch_size=None, num_workers=workers))
    assert time.monotonic() - began < 4  # no wait for a worker to die
    assert not multiprocessing.active_children()


class Counted(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from range(4)


def counted() -> list[int]:
    return list(Loader(ErrorsAsItems(Counted()), patience=60.0, batch_size=None, num_workers=2))


@pytest.mark.parametrize("place", ["before", "behind"])
def test_each_ctrl_c_that_comes_while_workers_are_forked_is_heard(monkeypatch, place):
    heard = []

    def note(number, frame):
        heard.append(number)
        if len(heard) == 2:  # as in training: the first is noted, the second stops at once
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    monkeypatch.setitem(AROUND_FORKS, place, 2)
    try:
        with pytest.raises(KeyboardInterrupt):
            counted()
        assert len(heard) == 2
        assert signal.getsignal(signal.SIGINT) is note
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()


def test_a_worker_in_its_first_moments_leaves_a_ctrl_c_to_its_trainer(monkeypatch):
    monkeypatch.setitem(AROUND_FORKS, "in the child", 1)
    assert sorted(counted()) == [0, 0, 1, 1, 2, 2, 3, 3]
