"""Signals to a whole group of processes leave data workers at work."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from vxl.data.order.worker import leave_signals_to_trainer


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
