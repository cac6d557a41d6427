"""Signals: noted in a step, obeyed where no data comes, and a second Ctrl-C at once."""

import multiprocessing
import signal
import sys
import time
from typing import Any, cast

import pytest

from vxl.train.launch.handover import Stopped
from vxl.train.saving import interrupt as module
from vxl.train.saving.interrupt import Interrupt, interrupted_as_such

LIGHTNING = cast(Any, None)


class Trainer:
    """What agreeing asks of Lightning's trainer."""

    world_size = 1


@pytest.fixture
def listening(monkeypatch):
    """Makes interrupts that own the signals until the end of the test."""
    made: list[Interrupt] = []
    monkeypatch.setattr(module, "GRACE", 0.05)

    def make(waits: bool = False) -> Interrupt:
        made.append(Interrupt(lambda: waits))
        made[-1].on_train_start(LIGHTNING, LIGHTNING)
        return made[-1]

    before = {
        number: signal.getsignal(number) for number in (*module._SIGNALS, signal.SIGCHLD, signal.SIGURG)
    }
    yield make
    for one in reversed(made):
        one.on_exception(LIGHTNING, LIGHTNING, SystemExit())
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_signal_in_a_step_is_noted_until_its_end(listening) -> None:
    interrupt = listening()
    assert not interrupt.agreed(Trainer())
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert interrupt.agreed(Trainer())
    assert interrupt.stopped == signal.SIGTERM


def test_the_weightiest_of_several_counts_whatever_their_order(listening) -> None:
    for order in ((signal.SIGTERM, signal.SIGUSR2), (signal.SIGUSR2, signal.SIGTERM)):
        interrupt = listening()
        for number in order:
            signal.raise_signal(number)
        assert interrupt.agreed(Trainer())
        assert interrupt.stopped == signal.SIGUSR2


def test_where_no_data_comes_a_signal_stops_the_run(listening) -> None:
    listening(waits=True)
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    worker.start()
    began = time.monotonic()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Stopped) as stop:
        time.sleep(20)
    assert stop.value.code == 128 + signal.SIGTERM
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_a_second_ctrl_c_stops_at_once(listening) -> None:
    listening()
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    worker.start()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    worker.join(10)
    assert worker.exitcode == -signal.SIGKILL


def test_a_reminder_stops_only_a_run_that_was_asked_to_and_waits_for_data(listening) -> None:
    asked = listening(waits=False)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGURG)
    assert asked.requested == signal.SIGTERM
    listening(waits=True)
    signal.raise_signal(signal.SIGURG)


def test_a_ctrl_c_that_lightning_turns_into_a_status_stays_one() -> None:
    before = signal.getsignal(signal.SIGINT)

    def fit() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.exit(1)

    with pytest.raises(KeyboardInterrupt), interrupted_as_such():
        fit()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit), interrupted_as_such():
        sys.exit(3)


def test_a_ctrl_c_behind_the_last_step_waits_for_the_results_and_is_obeyed_then(listening, capsys) -> None:
    written = []

    def run() -> None:
        interrupt = listening()
        with interrupt.until_the_end():
            interrupt.on_train_end(LIGHTNING, LIGHTNING)
            signal.raise_signal(signal.SIGINT)
            written.append("RESULT.json")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert written == ["RESULT.json"]
    assert "SIGINT: writing the results first" in capsys.readouterr().err
