"""Which worker answers which video: claims are files, so any number of processes on any machines share work.

No process waits for another's result and none speaks for all, so a killed worker costs one video.
"""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

STALE = 60.0
"""Seconds without a sign of life after which a claim may be taken over."""


class Claims:
    """The claims of one evaluation.

    Args:
        folder: One file a claimed video; shared by all workers.
        worker: This worker's name.
        stale: Seconds without a heartbeat after which a claim counts as abandoned.
    """

    def __init__(self, folder: Path, worker: str, stale: float = STALE) -> None:
        self.folder, self.worker, self.stale = folder, worker, stale
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, video: str) -> bool:
        """Claims a video; whether it is this worker's now."""
        path = self._path(video)
        if self._create(path):
            return True
        if not self._abandoned(path):
            return False
        # Whoever renames the abandoned claim away may claim anew; only one rename succeeds.
        grave = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            path.rename(grave)
        except FileNotFoundError:
            return False
        grave.unlink(missing_ok=True)
        return self._create(path)

    def release(self, video: str) -> None:
        """Gives a claim back: its answers are on disk, or another worker may try."""
        self._path(video).unlink(missing_ok=True)

    def held(self, videos: Sequence[str]) -> bool:
        """Whether another worker is at one of these videos."""
        return any(self._path(video).exists() and not self._abandoned(self._path(video)) for video in videos)

    @contextlib.contextmanager
    def alive(self, video: str) -> Generator[None]:
        """Shows signs of life while a claimed video is being answered, and gives it back at the end."""
        path, stop = self._path(video), threading.Event()

        def beat() -> None:
            while not stop.wait(self.stale / 6):
                with contextlib.suppress(OSError):
                    os.utime(path)

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()
            self.release(video)

    def _path(self, video: str) -> Path:
        return self.folder / (hashlib.sha256(video.encode()).hexdigest()[:24] + ".claim")

    def _create(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{socket.gethostname()} {os.getpid()} {self.worker}\n")
        return True

    def _abandoned(self, path: Path) -> bool:
        """Whether its holder is gone: a dead process of this machine, or no sign of life for long."""
        try:
            age = time.time() - path.stat().st_mtime
            words = path.read_text().split()
        except FileNotFoundError:
            return False
        if age > self.stale:
            return True
        if len(words) >= 2 and words[0] == socket.gethostname() and words[1].isdigit():
            return not _lives(int(words[1]))
        return False


def _lives(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def queue(
    units: Sequence[str], claims: Claims, answered: Callable[[], set[str]], wait: float = 0.5
) -> Iterator[str]:
    """Units for this worker, in the given order, until every unit is answered by some worker.

    Args:
        units: Names of videos, the longest first.
        claims: Shared by the workers.
        answered: The units that are wholly answered, read anew from disk at each call.
        wait: Seconds between looks at what others are still at.
    """
    finished = answered()
    while True:
        progress = False
        for unit in units:
            if unit in finished or not claims.take(unit):
                continue
            finished = answered()  # another worker may have finished it just before the claim
            if unit in finished:
                claims.release(unit)
                continue
            progress = True
            with claims.alive(unit):
                yield unit
            finished = finished | {unit}
        finished = finished | answered()
        open_units = [unit for unit in units if unit not in finished]
        if not open_units:
            return
        if not progress:
            time.sleep(wait)
