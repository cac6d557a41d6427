import os
import threading
import time
from pathlib import Path

from vxl.evaluate.work.claims import Claims, queue


def test_of_many_workers_one_gets_each_claim(tmp_path: Path) -> None:
    got: list[str] = []

    def work(name: str) -> None:
        claims = Claims(tmp_path, name)
        got.extend(f"v{n}" for n in range(20) if claims.take(f"v{n}"))

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"v{n}" for n in range(20))


def test_a_dead_workers_claim_is_taken_over_and_a_living_ones_is_not(tmp_path: Path) -> None:
    claims = Claims(tmp_path, "me")
    assert claims.take("v")
    assert not Claims(tmp_path, "other").take("v")
    (path,) = tmp_path.glob("*.claim")
    host, _, name = path.read_text().split()
    path.write_text(f"{host} 999999999 {name}\n")  # a process that is not there
    assert Claims(tmp_path, "other").take("v")
    path.write_text(f"elsewhere 1 {name}\n")
    assert not claims.take("v")
    long_ago = time.time() - 1000
    os.utime(path, (long_ago, long_ago))
    assert claims.take("v")


def test_a_worker_waits_for_what_another_is_at_and_takes_it_over_when_it_dies(tmp_path: Path) -> None:
    done: set[str] = set()
    first, second = Claims(tmp_path, "first"), Claims(tmp_path, "second")
    assert first.take("b")
    found = []
    for unit in queue(["a", "b"], second, lambda: set(done), wait=0.01):
        found.append(unit)
        done.add(unit)
        if unit == "a":
            threading.Timer(0.05, lambda: first.release("b")).start()
    assert found == ["a", "b"]


def test_what_another_worker_finished_is_not_asked_again(tmp_path: Path) -> None:
    done = {"a"}
    assert list(queue(["a"], Claims(tmp_path, "w"), lambda: set(done))) == []
    assert list(tmp_path.glob("*.claim")) == []
