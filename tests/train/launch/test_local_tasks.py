import os
import signal
import sys
import threading
import time
from pathlib import Path

from vxl.train.launch.local_tasks import Task, run_tasks


def task(name: str, program: str, tmp_path: Path) -> Task:
    return Task(name, [sys.executable, "-c", program], log=tmp_path / "logs" / f"{name}.log")


def test_one_that_fails_does_not_stop_the_others(tmp_path):
    programs = ["import os; print(os.environ['PLACE'])", "raise SystemExit(3)", "print('last')"]
    tasks = [task(str(i), program, tmp_path) for i, program in enumerate(programs)]
    ended: list[str] = []
    stopped = run_tasks(
        tasks, 2, [{"PLACE": "a"}, {"PLACE": "b"}], on_end=lambda task: ended.append(task.name)
    )
    assert stopped is None
    assert [task.status for task in tasks] == [0, 3, 0]
    assert sorted(ended) == ["0", "1", "2"]
    assert (tmp_path / "logs" / "0.log").read_text().strip() in ("a", "b")
    assert (tmp_path / "logs" / "2.log").read_text() == "last\n"


def test_no_more_than_so_many_at_once_and_each_in_a_place_of_its_own(tmp_path):
    program = (
        "import os, time, pathlib\n"
        f"place = pathlib.Path({str(tmp_path)!r}) / os.environ['PLACE']\n"
        "place.mkdir()\ntime.sleep(0.3)\nplace.rmdir()\n"  # fails if another one is in the same place
    )
    tasks = [task(str(i), program, tmp_path) for i in range(4)]
    run_tasks(tasks, 2, [{"PLACE": "a"}, {"PLACE": "b"}])
    assert [task.status for task in tasks] == [0] * 4


def test_a_signal_is_passed_on_and_nothing_is_started_any_more(tmp_path):
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    tasks = [task(str(i), program, tmp_path) for i in range(3)]
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        logs = [tmp_path / "logs" / f"{i}.log" for i in range(2)]
        while not all(log.exists() and "ready" in log.read_text() for log in logs):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert run_tasks(tasks, 2) == signal.SIGINT
    assert [task.status for task in tasks] == [7, 7, None]
    assert signal.getsignal(signal.SIGINT) is before
