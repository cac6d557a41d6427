"""Imports without a search for garbage: what they make stays to the end."""

import contextlib
import gc
import sys
from collections.abc import Generator


@contextlib.contextmanager
def uncollected() -> Generator[None]:
    """Python's garbage collector rests inside: many modules leave no garbage, and to look for it takes a
    fifth of the time of importing them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def imported_for_good() -> Generator[None]:
    """Python's garbage collector leaves alone what is imported inside: now, later and when the process ends.

    Otherwise a third of the time of a command that does little goes into walking through the half a million
    objects of torch, Lightning and transformers.
    """
    before = len(sys.modules)
    with uncollected():
        try:
            yield
        finally:
            if len(sys.modules) > before:  # else a call that imports nothing would keep real garbage
                gc.freeze()
