"""The command line of evaluate.py: changes of the model's parts, named sweeps, several benchmarks."""

from collections.abc import Sequence

from vxl.errors import ConfigError
from vxl.evaluate.work.changes import is_change


def prepare(arguments: Sequence[str]) -> list[list[str]]:
    """The command lines as Hydra should see them, one a benchmark.

    `kv=snapkv kv.keep=0.25` are no keys of conf/evaluate.yaml: they change the evaluated model, and are
    handed on as `change=[…]`. `+sweep=NAME` becomes `members=NAME`, which share
    what they watch.

    Args:
        arguments: `sys.argv[1:]`.

    Raises:
        ConfigError: `-m` is given: members of an evaluation are not separate runs.
    """
    if any(word in ("-m", "--multirun") for word in arguments):
        raise ConfigError(
            "evaluate.py takes several values without -m, and its members share what they watch.\n"
            "  type e.g.  kv=snapkv kv.keep=0.5,0.25   or  +sweep=policies"
        )
    changes = [word.lstrip("+") for word in arguments if is_change(word)]
    rest = [word for word in arguments if not is_change(word)]
    sweeps = [word.partition("=")[2] for word in rest if word.lstrip("+").startswith("sweep=")]
    rest = [word for word in rest if not word.lstrip("+").startswith("sweep=")]
    if sweeps:
        rest.append(f"members={sweeps[-1]}")
    if changes:
        rest.append(f"change=[{','.join(map(_quoted, changes))}]")
    names = [word for word in rest if word.startswith("benchmark=")]
    if not names:
        return [rest]
    others = [word for word in rest if not word.startswith("benchmark=")]
    sweep_names = [name for name in names[-1].partition("=")[2].strip("[]").split(",") if name]
    return [[f"benchmark={name.strip()}", *others] for name in sweep_names] or [rest]


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
