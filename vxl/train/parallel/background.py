"""One piece of work beside the training: a checkpoint that is being written."""

import threading
from collections.abc import Callable


class Background:
    """A thread for one thing at a time; what went wrong there is raised where it is waited for."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begins; the last piece must have been waited for."""
        assert self._thread is None

        def run() -> None:
            try:
                work()
            # An exit as well (`once` ends the other processes so when the first one failed): a thread would
            # swallow it, and the run would go on as if its checkpoint were written.
            except BaseException as error:
                self._error = error

        # No daemon: a process that comes to its end finishes its checkpoint first.
        self._thread = threading.Thread(target=run, name="vxl-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Waits until it is done, if anything is begun; raises what it raised."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread, error = None, self._error
        self._error = None
        if error is not None:
            raise error
