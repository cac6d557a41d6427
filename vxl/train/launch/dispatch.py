"""From a command to the runs that a cluster carries out: all that are neither finished nor at work."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vxl.errors import ConfigError, VxlError
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.run.code import Code
from vxl.run.directory import RunDirectory, status_of, write_resolved
from vxl.run.name import run_name
from vxl.terminal.screen import Screen
from vxl.train.config import TrainConfig
from vxl.train.launch.cluster import Cluster, RunRequest, Submission


def dispatch(
    members: Sequence[list[str]],
    compose: Callable[[list[str]], TrainConfig],
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
        failed: Called for a run whose config is wrong; the others go on.
        console: Where to say so.

    Returns:
        Exit status.

    Raises:
        ConfigError: The cluster can't be used, or the only run has a wrong config.
    """
    console = console or Screen()
    configs: dict[str, TrainConfig] = {}
    requests: dict[str, RunRequest] = {}
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
        configs[name] = config
        requests[name] = RunRequest(
            name, words, Path(config.paths.runs) / name, config.trainer, config.data.workers
        )
    if not requests:
        return 1
    first = next(iter(configs.values()))
    cluster: Cluster = build(first.cluster)
    states |= cluster.at_work(_submission(first, script, list(requests.values())))
    unfinished = [
        request_left
        for name, request in requests.items()
        if (request_left := _left(request, configs[name], states[name], composed, console))
    ]
    if not unfinished:
        console.print("nothing to do", markup=False)
        return 1 if wrong else 0
    submission = _submission(first, script, unfinished)
    if first.dry_run:
        for request in unfinished:
            console.print(f"would run {request.name}", markup=False, soft_wrap=True)
        cluster.preview(submission, console)
        return 1 if wrong else 0
    for request in unfinished:
        write_resolved(request.directory, plain(configs[request.name]))
    Code.now(first.plugins).write(submission.record, words=[request.words for request in unfinished])
    status = cluster.carry_out(submission, console)
    return status or (1 if wrong else 0)


def _submission(config: TrainConfig, script: Path, requests: list[RunRequest]) -> Submission:
    name = config.sweep_name or requests[0].name
    folder = (Path(config.paths.runs) / name / _cluster_name(config)).absolute()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Submission(script.absolute(), name, folder, folder / f"submitted-{stamp}.json", requests)


def _cluster_name(config: TrainConfig) -> str:
    return config.cluster._target_.rpartition(".")[2].lower()


def _left(
    request: RunRequest,
    config: TrainConfig,
    state: str,
    composed: Callable[[list[str]], str],
    console: Console,
) -> RunRequest | None:
    """A run, if it is neither finished nor at work; what is to be removed first is removed here.

    A job that is requeued runs its command again: `on_existing` must have had its say by then.
    """
    how = config.on_existing
    if state == "running":
        state = "another process is at work on it"
    if state not in ("new", "resume") and not (state == "finished" and how == "fail"):
        console.print(f"{request.name}: {state}", markup=False, soft_wrap=True)
        return None
    if how == "fail" and state != "new":
        raise ConfigError(f"the run {request.directory} exists.\n  go on with it:    on_existing=resume")
    if how == "overwrite" and state != "new" and not config.dry_run:
        RunDirectory.open(config, composed(request.words)).close()
    words = [word for word in request.words if word.partition("=")[0] != "on_existing"]
    return replace(request, words=words)
