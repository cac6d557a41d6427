"""`make test-mutants`: breaks one line at a time, and reports which breaks the quick tests do not notice.

    python -m tests.mutants.run [ROOM …] [--only TEXT] [--share 1/2] [--check]

Each break is tried in a copy of the code with the tests that the list names; what survives them is tried with
all quick tests of the room. Before anything is broken those tests must pass. A break that makes the tests run
ten times as long as before counts as noticed, and is said to be so.
"""

import argparse
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutants import ROOT, Mutant, read_all

QUICK = "not slow and not kills and not grid and not crash"
SURVIVORS = 0.03
"""Share of the breaks that may survive, each with its reason."""
# Imported once, here; each trial is a fork that has them.
HEAVY = [
    "torch",
    "transformers",
    "lightning.pytorch",
    "hypothesis",
    "numpy",
    "av",
    "PIL.Image",
    "rich.console",
]
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def copied(folder: Path) -> Path:
    """The working tree's files in a folder, as they stand, without what git ignores."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def trial(copy: Path, tests: tuple[str, ...], seconds: float) -> tuple[str, float]:
    """Runs tests of the copy in a fork: (passed | failed | late | no tests, seconds)."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(_tests(copy, tests))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        took = time.monotonic() - began
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return {0: "passed", 5: "no tests"}.get(code, "failed"), took
        if took > seconds:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "late", took
        time.sleep(0.05)


def _tests(copy: Path, tests: tuple[str, ...]) -> int:
    """Pytest's exit status; in the fork."""
    output = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in [name for name in sys.modules if name.split(".")[0] in ("vxl", "tests")]:
        del sys.modules[name]
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(copy)
    sys.dont_write_bytecode = True
    vxl, pytest = importlib.import_module("vxl"), importlib.import_module("pytest")
    assert Path(str(vxl.__file__)).is_relative_to(copy)
    options = ["-x", "-q", "-m", QUICK, "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=0"]
    return int(pytest.main([*options, *tests]))


class Trials:
    """Tries mutants in one copy of the code; remembers how long the tests take when nothing is broken."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.seconds: dict[tuple[str, ...], float] = {}

    def outcome(self, mutant: Mutant, tests: tuple[str, ...]) -> str:
        """What tests say of a mutant: passed, failed, late.

        Raises:
            SystemExit: They do not pass, or there are none, when nothing is broken.
        """
        if tests not in self.seconds:
            unbroken, took = trial(self.copy, tests, 1800)
            if unbroken != "passed":
                raise SystemExit(f"{unbroken} with nothing broken: {' '.join(tests)}\n{self.said()}")
            self.seconds[tests] = took
        file = mutant.place(self.copy)
        assert file is not None
        text = file.read_text()
        file.write_text(mutant.applied(text))
        try:
            return trial(self.copy, tests, 60 + 10 * self.seconds[tests])[0]
        finally:
            file.write_text(text)

    def said(self) -> str:
        """The end of the latest output."""
        return (self.copy / "output.txt").read_text(errors="replace")[-3000:]


def wanted(rooms: list[str], share: str, only: str = "") -> list[Mutant]:
    """The mutants that a command asks for."""
    number, shares = map(int, share.split("/"))
    mutants = [mutant for mutant in read_all() if not rooms or mutant.room in rooms]
    mutants = [mutant for mutant in mutants if re.search(only, str(mutant))]
    return [mutant for i, mutant in enumerate(mutants) if i % shares == number - 1]


def main() -> int:
    """Tries them, prints each, then the survivors; 1 if too many survive, or one without a reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="lists to try, such as train kv; all if none is named")
    parser.add_argument(
        "--share", default="1/1", help="2/3: the second of every three, for several processes"
    )
    parser.add_argument("--only", default="", help="a regular expression: breaks whose file or lines match")
    parser.add_argument("--check", action="store_true", help="only say which lines are there no more")
    words = parser.parse_args()
    mutants = wanted(words.rooms, words.share, words.only)
    gone = [mutant for mutant in mutants if mutant.place() is None]
    for mutant in gone:
        print(f"gone: {mutant}")
    if words.check:
        return 1 if gone else 0
    os.environ.update(SETTINGS)
    for name in HEAVY:
        importlib.import_module(name)
    survivors: list[Mutant] = []
    tried = [mutant for mutant in mutants if mutant not in gone]
    with tempfile.TemporaryDirectory(prefix="vxl-mutants-") as folder:
        trials = Trials(copied(Path(folder).resolve()))
        for number, mutant in enumerate(tried, start=1):
            began, outcome = time.monotonic(), trials.outcome(mutant, mutant.tests)
            whole = (f"tests/{mutant.file.split('/')[1]}",)
            if outcome == "passed" and mutant.tests != whole and (ROOT / whole[0]).is_dir():
                outcome = trials.outcome(mutant, whole)
            said = {"passed": "SURVIVES", "failed": "noticed", "late": "noticed (too slow)"}[outcome]
            print(f"{number}/{len(tried)} {said} {time.monotonic() - began:.0f} s  {mutant}", flush=True)
            survivors += [mutant] * (outcome == "passed")
    print(f"\n{len(survivors)} of {len(tried)} survive; {len(gone)} lines are gone")
    for mutant in survivors:
        print(f"{mutant}\n    = {mutant.reason or 'NO REASON'}")
    without = [mutant for mutant in survivors if not mutant.reason]
    return 1 if without or len(survivors) > SURVIVORS * len(tried) else 0


if __name__ == "__main__":
    sys.exit(main())
