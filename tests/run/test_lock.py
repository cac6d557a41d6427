import fcntl
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from vxl.errors import ConfigError
from vxl.run.lock import Lock


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def other():
    """A living process that is not ours."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def owned(path, **owner):
    path.write_text(json.dumps({"host": socket.gethostname(), "started": None, "job": None, **owner}))


def test_it_names_the_owner_and_goes_when_released(path):
    lock = Lock(path)
    lock.acquire()
    owner = json.loads(path.read_text())
    assert (owner["host"], owner["pid"]) == (socket.gethostname(), os.getpid())
    lock.release()
    assert not path.exists()


def test_a_living_owner_keeps_it(path, other):
    owned(path, pid=other.pid)
    with pytest.raises(ConfigError) as error:
        Lock(path).acquire()
    assert str(error.value) == (
        f"{path.parent} is in use by process {other.pid} on {socket.gethostname()}.\n"
        "  wait for it, or choose another name:  name=NAME\n"
        f"  if you know that process to be gone:  rm {path}"
    )
    assert json.loads(path.read_text())["pid"] == other.pid


def test_a_dead_owner_loses_it(path, other):
    owned(path, pid=other.pid)
    other.kill()
    other.wait()
    Lock(path).acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_process_id_that_came_back_is_no_owner(path, other):
    owned(path, pid=other.pid, started=1)
    Lock(path).acquire()


def test_an_owner_on_another_machine_keeps_it(path):
    owned(path, pid=1, host="elsewhere", job="77")
    with pytest.raises(ConfigError, match="process 1 on elsewhere, SLURM job 77"):
        Lock(path).acquire()


def test_a_requeued_job_takes_its_own_lock_back(path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    owned(path, pid=1, host="elsewhere", job="77")
    Lock(path).acquire()


def test_a_lock_that_was_never_finished_is_nobodys(path):
    path.write_text('{"host": "el')
    Lock(path).acquire()


def test_releasing_leaves_a_lock_that_another_took(path):
    lock = Lock(path)
    lock.acquire()
    owned(path, pid=1, host="elsewhere")
    lock.release()
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_of_many_that_find_a_stale_lock_one_gets_it(path):
    owned(path, pid=2**22 + 1)
    code = (
        "import sys; from pathlib import Path\n"
        "from vxl.run.lock import Lock; from vxl.errors import ConfigError\n"
        "try: Lock(Path(sys.argv[1])).acquire()\n"
        "except ConfigError: sys.exit(3)\n"
        "print(1, flush=True); input()"
    )

    def start(_):
        return subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with ThreadPoolExecutor(4) as pool:
        processes = list(pool.map(start, range(4)))
    got = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate("\n")
    assert sorted(got) == ["", "", "", "1\n"]
    assert sorted(process.returncode for process in processes) == [0, 3, 3, 3]


@pytest.mark.parametrize("pid", [1, 2**22 + 1])
def test_who_lives_in_another_container_keeps_it(path, pid):
    """Its process id names nobody here, or somebody else."""
    code = (
        "import sys; from pathlib import Path; from vxl.run.lock import Lock\n"
        "Lock(Path(sys.argv[1])).acquire(); print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        owned(path, pid=pid, started=7)
        with pytest.raises(ConfigError, match="in another container or on another node"):
            Lock(path).acquire()
        process.kill()
    Lock(path).acquire()


def test_two_do_not_read_and_write_it_at_once(path):
    """A stale lock that two find at once would be taken by both."""
    with ThreadPoolExecutor(1) as pool:
        with open(path, "w") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)
            waiting = pool.submit(Lock(path).acquire)
            assert not wait([waiting], timeout=0.1).done
        waiting.result(timeout=5)
