"""Runs from Python, in the words of the command line: listed, compared, evaluated and trained.

`vxl.compare`, `vxl.evaluate` and `vxl.train` are packages, so these functions say of what they are.
"""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from vxl.compare.comparison import compare
from vxl.config.check_training import refuse_to_begin
from vxl.config.compose import compose
from vxl.config.evaluation import prepare
from vxl.errors import ConfigError
from vxl.evaluate.run import run_evaluation
from vxl.option.rebuild import plain
from vxl.run.find import find_members, runs_folder
from vxl.run.find import list_runs as runs_below
from vxl.train.config import TrainConfig
from vxl.train.launch.cluster import HereConfig


def list_runs(folder: str | Path | None = None) -> list[dict[str, Any]]:
    """The runs below a folder, the most recent first: rows, as `pandas.DataFrame` takes them.

    Args:
        folder: Of runs; None = the one that `python train.py` writes to.
    """
    return [
        {"run": run.name, "status": run.status, "step": run.step, "steps": run.steps, "bytes": run.size}
        | {"age_s": run.age, "path": str(run.path)}
        for run in runs_below(_folder(folder))
        if run.status != "new"
    ]


def compare_runs(*names: str, folder: str | Path | None = None) -> list[dict[str, Any]]:
    """The numbers of `vxl compare`, a row a member: what differs, results, costs; None where there is none.

    Args:
        names: Sweeps or runs.
        folder: Of runs.

    Raises:
        ConfigError: There is no such run.
    """
    _refuse_lists("compare_runs", names)
    found = {run.name: run for name in names for run in find_members(name, _folder(folder))}
    compared = compare(list(found.values()), title=" ".join(names))
    return [
        {"run": member.run.name, "status": member.run.status, **member.differences}
        | {column.name: column.value(member) for column in compared.columns}
        for member in compared.members
    ]


def evaluate_run(run: str, *words: str) -> list[dict[str, Any]]:
    """Evaluates as `python evaluate.py run=RUN WORDS` does; a report for each benchmark and member.

    Args:
        run: A run or a sweep.
        words: Settings, such as `benchmark=clips`, `limit=8`, `kv=snapkv`.

    Raises:
        ConfigError: What the command line would refuse.
    """
    _refuse_lists("evaluate_run", (run, *words))
    reports = []
    for each in prepare([f"run={run}", *words]):
        reports += run_evaluation(compose("evaluate", each))
    return [report.plain() for report in reports]


def train_run(*words: str) -> dict[str, Any]:
    """Trains one run in this process, or goes on with it, as `python train.py WORDS` does; what came out.

    Args:
        words: Settings, such as `name=first`, `model=tiny`, `trainer.max_steps=100`.

    Raises:
        ConfigError: What the command line would refuse.
    """
    from vxl.train.run import train_or_resume  # late: torch.distributed.fsdp takes a second

    _refuse_lists("train_run", words)
    config = compose("train", list(words))
    _refuse_more_than_a_run(config, words)
    refuse_to_begin(config, words)
    text = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    return dataclasses.asdict(train_or_resume(config, text))


def _refuse_more_than_a_run(config: TrainConfig, words: tuple[str, ...]) -> None:
    """Raises where words ask for what is no training in this process."""
    asks = {
        "recipe=": config.recipe is not None,
        "cluster=": not isinstance(config.cluster, HereConfig),
        "dry_run=true": config.dry_run,
        "debug=replay": config.debug.replay,
    }
    asked = [word for word, is_asked in asks.items() if is_asked]
    if asked:
        raise ConfigError(
            f"{' '.join(asked)}: train_run trains one run, here and now; only python train.py does that.\n"
            f"  type  python train.py {' '.join(words)}"
        )


def _refuse_lists(name: str, words: tuple[Any, ...]) -> None:
    """Raises where a word is no text, such as a list of them."""
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(
                f"{name} takes texts, one after the other; got {word!r}.\n"
                f"  of a list of them:  vxl.{name}(*WORDS)"
            )


def _folder(given: str | Path | None) -> Path:
    return runs_folder(None if given is None else str(given))
