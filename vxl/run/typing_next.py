"""Commands that are shown to be typed next: they work where the user is, on the runs that were meant."""

import shlex
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from vxl.run.config import PathsConfig
from vxl.terminal.say import typed_here

_more_follows = ContextVar("more_follows", default=False)


@contextmanager
def followed(by_more: bool = True) -> Generator[None]:
    """Inside, a run that is finished has nothing to be typed next: its command goes on by itself.

    Args:
        by_more: Whether it does; of a recipe's stages all but the last are followed.
    """
    before = _more_follows.set(by_more)
    try:
        yield
    finally:
        _more_follows.reset(before)


def more_follows() -> bool:
    """Whether the command goes on with another run when this one is finished."""
    return _more_follows.get()


def next_words(script: str, *words: str, runs: str, plugins: Sequence[str] = ()) -> str:
    """A command line of train.py, evaluate.py or `vxl COMMAND`, with what it needs to find the runs again.

    Args:
        script: train, evaluate, or another command of `vxl`.
        words: What is typed behind it.
        runs: The folder of runs, which is named where it is another one than it is by default.
        plugins: Packages of the user's own.

    Example:
        >>> next_words("compare", "mine", runs="/data/runs")
        'vxl compare mine paths.runs=/data/runs'
    """
    call = typed_here(f"python {script}.py") if script in ("train", "evaluate") else f"vxl {script}"
    usual = Path(PathsConfig().runs).resolve() == Path(runs).resolve()
    more = [] if usual else [f"paths.runs={runs}"]
    more += [f"plugins=[{','.join(plugins)}]"] if plugins else []
    return " ".join([call, *map(_quoted, [*words, *more])])


def _quoted(word: str) -> str:
    """A word as a shell takes it; brackets and the ellipsis of an example may stand as they are."""
    plain = word.translate(_PLAIN)
    return word if shlex.quote(plain) == plain else shlex.quote(word)


_PLAIN = str.maketrans({"[": "a", "]": "a", "…": "a"})
