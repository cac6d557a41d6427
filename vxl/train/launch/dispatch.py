"""From a command to the runs that a cluster carries out: all that are neither finished nor at work."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vxl.errors import ConfigError, VxlError
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.run.code import Code
from vxl.run.directory import RunDirectory, status_of, write_resolved
from vxl.run.name import run_name
from vxl.train.launch.cluster import Cluster, Order, Work


def dispatch(
    members: Sequence[list[str]],
    compose: Callable[[list[str]], Any],
    composed: Callable[[list[str]], str],
    script: Path,
    failed: Callable[[list[str], VxlError], None],
    console: Console | None = None,
) -> int:
    """Hands the runs of one command over to the cluster that their config names.

    Args:
        members: The overrides of each run.
        compose: Makes a checked config of overrides.
        composed: The YAML of the same.
        script: `train.py`.
        failed: Told of a run whose config is wrong; the others go on.
        console: Where to say so.

    Returns:
        Exit status.

    Raises:
        ConfigError: The cluster can't be used, or the only run has a wrong config.
    """
    console = console or Console()
    works: dict[str, Work] = {}
    states: dict[str, str] = {}
    wrong = 0
    for words in members:
        try:
            config = compose(words)
            name = run_name(config)
            states[name] = status_of(config)
        except VxlError as error:
            if len(members) == 1:
                raise
            failed(words, error)
            wrong += 1
            continue
        works[name] = Work(name, words, config)
    if not works:
        return 1
    first = next(iter(works.values())).config
    cluster: Cluster = build(first.cluster)
    states |= cluster.at_work(_order(first, script, list(works.values())))
    left = [kept for work in works.values() if (kept := _left(work, states[work.name], composed, console))]
    if not left:
        console.print("nothing to do", markup=False)
        return 1 if wrong else 0
    order = _order(first, script, left)
    if first.dry_run:
        for work in left:
            console.print(f"would run {work.name}", markup=False, soft_wrap=True)
        cluster.preview(order, console)
        return 1 if wrong else 0
    for work in left:
        write_resolved(work.directory, plain(work.config))
    Code.now(first.plugins).write(order.record, words=[work.words for work in left])
    status = cluster.carry_out(order, console)
    return status or (1 if wrong else 0)


def _order(config: Any, script: Path, works: list[Work]) -> Order:
    name = config.sweep_name or works[0].name
    folder = (Path(config.paths.runs) / name / _kind(config)).absolute()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Order(script.absolute(), name, folder, folder / f"submitted-{stamp}.json", works)


def _kind(config: Any) -> str:
    return config.cluster._target_.rpartition(".")[2].lower()


def _left(work: Work, state: str, composed: Callable[[list[str]], str], console: Console) -> Work | None:
    """A run, if it is neither finished nor at work; what is to be removed first is removed here.

    A job that is requeued runs its command again: `on_existing` must have had its say by then.
    """
    how = work.config.on_existing
    if state == "running":
        state = "another process is at work on it"
    if state not in ("new", "resume") and not (state == "finished" and how == "fail"):
        console.print(f"{work.name}: {state}", markup=False)
        return None
    if how == "fail" and state != "new":
        raise ConfigError(f"the run {work.directory} exists.\n  go on with it:    on_existing=resume")
    if how == "overwrite" and state != "new" and not work.config.dry_run:
        RunDirectory.open(work.config, composed(work.words)).close()
    words = [word for word in work.words if word.partition("=")[0] != "on_existing"]
    return Work(work.name, words, work.config)
