"""Signals to a whole group of processes leave data workers at work."""

import multiprocessing.util
import os
import signal
import subprocess
import sys
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
