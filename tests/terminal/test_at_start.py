"""Ctrl-C while a command still imports: no traceback, whichever command and whichever import."""

import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from vxl.terminal.at_start import absent_package, end_at_interrupts, raise_interrupts
from vxl.terminal.interrupts import keep_interrupts

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "train": ["train.py", "model=tiny", "dry_run=true"],
    "evaluate": ["evaluate.py", "run=none", "benchmark=clips"],
    "vxl": ["-m", "vxl.cli", "explain", "kv"],
    "vxl train": ["-m", "vxl.cli", "train", "model=tiny", "dry_run=true"],
}
IMPORTED = ["vxl.errors", "vxl.units", "vxl.terminal.say", "vxl.config", "omegaconf"]


@pytest.mark.parametrize("behind", IMPORTED)
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_among_the_imports_prints_no_traceback(command: str, behind: str) -> None:
    words = [sys.executable, "-X", "importtime", *COMMANDS[command]]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == behind:
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate(timeout=60)
    said = [line for line in errors.splitlines() if line and not line.startswith("import time:")]
    if command == "vxl" and behind == "omegaconf":
        assert process.returncode == 0, "`vxl explain` needs none of it"
        return
    assert process.returncode in (-signal.SIGINT, 130)
    assert not output
    assert len(said) <= 1, said
    assert all(line.startswith("stopped") for line in said), said


def test_a_command_at_work_gets_its_ctrl_c_and_one_that_is_ignored_stays_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end_at_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        keep_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_at_interrupts()
        raise_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_python_without_vxl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleNotFoundError(name="hydra.core")
    assert absent_package(absent) is None, "vxl is installed here: the code is at fault"

    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("vxl.terminal.at_start.version", none)
    message = absent_package(absent)
    assert message is not None
    assert message.startswith(
        f"hydra is not installed, nor is vxl, for {sys.executable}.\n  type  make train"
    )
    assert absent_package(ModuleNotFoundError(name="vxl.no_such_module")) is None
