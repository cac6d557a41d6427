"""Signals to a whole group of processes leave data workers at work."""

import os
import signal

import torch

from vxl.data.worker import leave_signals_to_trainer


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
