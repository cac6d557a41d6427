"""A thread that works ahead: frames are decoded and on their way while the model is at earlier ones."""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

DEPTH = 2
"""Pieces that may wait, decoded, for the model: so many more are in memory, however long the video."""
POLL = 0.1
"""Seconds after which a thread looks whether it is still wanted."""


def prefetch(pieces: Iterator[Tensor], device: torch.device, depth: int = DEPTH) -> Generator[Tensor]:
    """Yields the pieces, taken in a thread of their own and copied to the device on a stream of their own.

    The thread ends with the pieces, with an error (which is raised here, in its turn), or when this
    generator is closed: after the piece that it is at.

    Args:
        pieces: Tensors in the host's memory, or on a card where they were decoded; the thread alone iterates
            over them.
        device: Where they go; to a GPU from page-locked memory, beside its computations.
        depth: Pieces that may wait.
    """
    waiting: queue.Queue[tuple[Tensor | None, torch.cuda.Event | None, BaseException | None]]
    waiting = queue.Queue(maxsize=depth)
    stop = threading.Event()
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def put(piece: Tensor | None, error: BaseException | None = None) -> None:
        event = None
        if piece is not None and copies is not None:
            if piece.device.type == "cpu":
                piece = piece.pin_memory()
            piece = piece.to(device, non_blocking=True)
            event = torch.cuda.Event()
            event.record(copies)
        while not stop.is_set():
            try:
                waiting.put((piece, event, error), timeout=POLL)
            except queue.Full:
                continue
            return

    def take() -> None:
        try:
            # What a card decodes and resizes in this thread is on that stream too, beside the model.
            with nullcontext() if copies is None else torch.cuda.stream(copies):
                for piece in pieces:
                    put(piece)
                    if stop.is_set():
                        break
            put(None)
        except BaseException as error:  # of any kind: without it the consumer would wait for ever
            put(None, error)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=take, name="vxl-frames", daemon=True)
    thread.start()
    try:
        while True:
            piece, event, error = waiting.get()
            if error is not None:
                raise error
            if piece is None:
                return
            if event is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(event)
                piece.record_stream(current)
            yield piece
    finally:
        stop.set()
        thread.join(timeout=5)  # one that hangs in its file is left behind
