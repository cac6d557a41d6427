"""Random numbers by name: every draw is a function of what it is for, never of what was drawn before."""

from hashlib import blake2b

import numpy as np


def seed_of(*names: int | str) -> int:
    """A 63-bit seed for something named, e.g. `seed_of(seed, "jitter", row)`; the same on every machine."""
    digest = blake2b(repr(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*names: int | str) -> np.random.Generator:
    """A NumPy generator for something named."""
    return np.random.Generator(np.random.Philox(key=seed_of(*names)))


def permutation(count: int, *names: int | str) -> np.ndarray:
    """A permutation of range(count) for something named, as uint32.

    By sorting raw 64-bit words, whose stream NumPy guarantees; `Generator.permutation` may change with its
    version.
    """
    words = np.random.Philox(key=seed_of(*names)).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.uint32)
