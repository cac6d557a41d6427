"""Commands that are shown to be typed next: they work where the user is, on the runs that were meant."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from vxl.run.config import PathsConfig


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
    lies_here = script in ("train", "evaluate") and Path(f"{script}.py").is_file()
    call = f"python {script}.py" if lies_here else f"vxl {script}"
    usual = Path(PathsConfig().runs).resolve() == Path(runs).resolve()
    more = [] if usual else [f"paths.runs={runs}"]
    more += [f"plugins=[{','.join(plugins)}]"] if plugins else []
    return " ".join([call, *map(_quoted, [*words, *more])])


def _quoted(word: str) -> str:
    """A word as a shell takes it; brackets and the ellipsis of an example may stand as they are."""
    plain = word.translate(_PLAIN)
    return word if shlex.quote(plain) == plain else shlex.quote(word)


_PLAIN = str.maketrans({"[": "a", "]": "a", "…": "a"})
