"""A Ctrl-C that Python drops in a finalizer, or around a fork, is raised again."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from vxl.config.command import run_command
from vxl.errors import ConfigError, LostError
from vxl.terminal.interrupts import hidden_interrupts, keep_interrupts
from vxl.train.saving.interrupt import Interrupt

BEFORE: list[Callable[[], None]] = []
BEHIND: list[Callable[[], None]] = []
"""What the next fork calls, once, in the parent."""
os.register_at_fork(
    before=lambda: BEFORE and BEFORE.pop()(), after_in_parent=lambda: BEHIND and BEHIND.pop()()
)


class Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def before_a_fork() -> None:
    BEFORE.append(lambda: signal.raise_signal(signal.SIGINT))
    fork()


def behind_a_fork() -> None:
    BEHIND.append(lambda: signal.raise_signal(signal.SIGINT))
    fork()


def as_logging_lets_its_lock_go() -> None:
    """There a signal is met that came in the fork itself."""
    behind = getattr(logging, "_releaseLock", None)
    if behind is None:
        pytest.skip("logging calls no Python behind a fork any more")

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is behind.__code__:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    BEFORE.append(lambda: sys.setprofile(look))
    fork()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("drop", [Finalized, before_a_fork, behind_a_fork, as_logging_lets_its_lock_go])
def test_a_ctrl_c_that_is_dropped_comes_again(
    drop: Callable[[], object], training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    keep_interrupts()
    interrupt = Interrupt()
    if training:  # there the second one stops at once
        interrupt.on_train_start(None, None)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 -- it comes while the test waits
            drop()
            time.sleep(10)
    finally:
        interrupt.on_exception(None, None, KeyboardInterrupt())  # type: ignore[arg-type]
    other = threading.Thread(target=logging.getLogger, args=("a name that is new",), daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()


def test_what_else_is_dropped_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))
    keep_interrupts()
    keep_interrupts()

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    Broken()
    assert told == [ValueError]


class Torn:
    """What is half done when it is put right, as a config that OmegaConf composes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *arguments: object) -> None:
        raise AttributeError("'NoneType' object has no attribute '_invalidate_flags_cache'")


def torn(then: type[Exception] | None) -> None:
    try:
        with Torn():
            signal.raise_signal(signal.SIGINT)
    except AttributeError as error:
        if then is None:
            raise
        raise then("it can't be composed") from error


@pytest.mark.parametrize("then", [None, ConfigError])
def test_an_error_that_hides_a_ctrl_c_is_one(then: type[Exception] | None) -> None:
    with pytest.raises(KeyboardInterrupt), hidden_interrupts():
        torn(then)


def test_other_errors_and_what_is_lost_behind_a_ctrl_c_stay_as_they_are() -> None:
    with pytest.raises(LostError), hidden_interrupts():
        torn(LostError)
    with pytest.raises(AttributeError), hidden_interrupts(), Torn():
        pass


def test_a_command_whose_composing_is_torn_has_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vxl.config.command.plan_sweep", lambda *arguments: torn(None))
    assert run_command("train", lambda config, composed: None, ["seed=1"]) == 130
    assert capsys.readouterr().err.startswith("\nstopped; the same command goes on")
