"""Several processes that do the same at once."""

import multiprocessing
from collections.abc import Callable


def in_three_forks(work: Callable[[int], None]) -> None:
    """Runs `work(turn)` in three forks of this process; an error in one of them fails."""
    processes = [multiprocessing.get_context("fork").Process(target=work, args=(turn,)) for turn in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
