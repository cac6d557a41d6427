"""The model's thread: takes one request after the other, with those that share its video and its settings."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from vxl.serve.fair import FairQueue
from vxl.serve.job import Job
from vxl.serve.request_error import RequestError

log = logging.getLogger(__name__)

GOING_DOWN = RequestError("the server is going down.", status=503)


class Worker:
    """A thread that answers jobs.

    Args:
        answer: Answers jobs of one batch key; what it raises is not the clients' fault.
        batch: Jobs that are answered together at most.
    """

    def __init__(self, answer: Callable[[Sequence[Job]], None], batch: int) -> None:
        self.answer, self.batch = answer, batch
        self._waiting: FairQueue[Job] = FairQueue()
        self._changed = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._work, name="vxl-model", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def add(self, job: Job) -> None:
        """Puts a job into the queue."""
        with self._changed:
            if not self._ends:
                self._waiting.add(job.client, job)
                self._changed.notify()
                return
        job.send(GOING_DOWN)

    def __len__(self) -> int:
        """Jobs that wait."""
        with self._changed:
            return len(self._waiting)

    def end(self, seconds: float = 30.0) -> None:
        """Ends the thread after what it is at; jobs that wait are refused."""
        with self._changed:
            self._ends = True
            left = self._waiting.take_where(lambda job: True, len(self._waiting))
            self._changed.notify()
        for job in left:
            job.send(GOING_DOWN)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _next(self) -> list[Job] | None:
        """The jobs that are next, without those whose client has gone; None at the end."""
        with self._changed:
            while True:
                while not len(self._waiting):
                    if self._ends:
                        return None
                    self._changed.wait()
                first = self._waiting.take()
                if first.gone.is_set():
                    continue
                return [first, *self._waiting.take_where(partial(_go_with, first), self.batch - 1)]

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            began = time.monotonic()
            try:
                self.answer(jobs)
            except Exception:
                log.exception("%d requests failed after %.1f s", len(jobs), time.monotonic() - began)
                for job in jobs:
                    job.send(RequestError("the server failed; its log says where.", status=500))


def _go_with(first: Job, job: Job) -> bool:
    """Whether a job can be answered together with another."""
    return job.batch_key == first.batch_key and not job.gone.is_set()
