"""A file that several threads decode, each a part from key frame to key frame: the very same frames."""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Literal

import numpy as np
from torch import Tensor
from torch.utils.data import get_worker_info

from vxl.errors import LostError
from vxl.video.decoder.pyav import JUMP, PyAVReader
from vxl.video.frame_index import FrameIndex

log = logging.getLogger(__name__)

Threads = Literal["codec", "auto"]

LEAST = 96
"""Decoded frames that are worth a part of their own: each costs a jump (JUMP frames)."""
MOST = 256
"""Most frames that a part gives: those of the parts under way are in memory."""

_threads: Threads = "codec"
"""Of this process; a data worker is given its trainer's. No frame depends on it."""


def decoding_threads() -> Threads:
    """How this process decodes a file."""
    return _threads


def decode_with(threads: Threads) -> None:
    """Sets how this process decodes a file."""
    global _threads
    _threads = threads


@contextlib.contextmanager
def decoded_with(threads: Threads) -> Generator[None]:
    """Inside, files are decoded so."""
    before = decoding_threads()
    decode_with(threads)
    try:
        yield
    finally:
        decode_with(before)


def cores_here() -> int:
    """Cores that this process may use; a data worker shares them with the others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worker = get_worker_info()
    return max(1, cores // (worker.num_workers if worker else 1))


class _DamagedError(Exception):
    """What a part shows may depend on what was decoded before it."""


class ParallelReader(PyAVReader):
    """Like its base; `mapped` decodes parts of the file at once where that is sure to give the same frames.

    It is where the packets' time stamps say which frame is which, and from which one decoding has to start,
    and where no part is damaged.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, name: str | None, workers: int) -> None:
        super().__init__(source, name=name, threads=1)
        self.workers = workers

    def mapped(
        self, indices: Sequence[int] | np.ndarray, work: Callable[[Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """Yields work(frame) of frames of ascending numbers; work is done by the thread that decoded it.

        Raises:
            DataError: As `frames`.
        """
        wanted_F = np.asarray(indices, dtype=np.int64)
        given = 0
        parts = self._parts(wanted_F)
        if len(parts) > 1:
            try:
                with contextlib.closing(self._at_once(parts, work)) as frames:
                    for frame_1CHW in frames:
                        yield frame_1CHW
                        given += 1
            except LostError:
                raise
            except Exception as reason:  # whatever it is: one thread meets it too, or it was the threads'
                log.debug("%s: reading with one thread: %r", self.name, reason)
        if given < len(wanted_F):
            yield from map(work, islice(self.frames(wanted_F), given, None))

    def _parts(self, wanted_F: np.ndarray) -> list[np.ndarray]:
        """The numbers, cut where decoding can begin anew; uncut where that is not known or not worth it."""
        if len(wanted_F) < 2 or wanted_F[-1] - wanted_F[0] < 2 * LEAST:
            return [wanted_F]
        index = self._numbered()
        if not index.seekable or index.frames != self.info.frames:
            return [wanted_F]
        parts = cut_at_key_frames(wanted_F, index)
        return [wanted_F] if max(map(len, parts)) > MOST else parts

    def _at_once(self, parts: list[np.ndarray], work: Callable[[Tensor], Tensor]) -> Generator[Tensor]:
        readers: SimpleQueue[PyAVReader] = SimpleQueue()
        under_way: deque[Future[list[Tensor]]] = deque()

        def decode(part_F: np.ndarray) -> list[Tensor]:
            reader = readers.get()
            try:
                frames = [work(frame_1CHW) for frame_1CHW in reader.frames(part_F)]
                if reader.damaged:
                    raise _DamagedError
                return frames
            finally:
                readers.put(reader)

        with contextlib.ExitStack() as stack:
            workers = min(self.workers, len(parts))
            for _ in range(workers):
                readers.put(stack.enter_context(self.beside()))
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            stack.callback(lambda: [part.cancel() for part in under_way])
            for part_F in parts:
                under_way.append(pool.submit(decode, part_F))
                if len(under_way) > workers:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()


def cut_at_key_frames(wanted_F: np.ndarray, index: FrameIndex) -> list[np.ndarray]:
    """Ascending numbers in parts that cost about as much to decode, none of which decodes a frame twice."""
    parts, first, cost, before = [], 0, 0, -1
    for place, (number, start) in enumerate(zip(wanted_F, index.starts_N[wanted_F], strict=True)):
        anew = start > before
        if anew and cost >= LEAST:
            parts.append(wanted_F[first:place])
            first, cost = place, 0
        cost += min(number - before, JUMP + number - start + 1) if anew else number - before
        before = number
    return [*parts, wanted_F[first:]]
