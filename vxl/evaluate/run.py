"""`python evaluate.py`: ask a benchmark's questions, read the answers, report."""

import os
from contextlib import AbstractContextManager

from rich.console import Console

from vxl.errors import CheckpointError, ConfigError
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.evaluation import Evaluation
from vxl.evaluate.group import show_group
from vxl.evaluate.report import Report
from vxl.evaluate.subjects import Subject, subjects
from vxl.evaluate.work.workers import WORKER, start, wants_workers
from vxl.patience import patience_of
from vxl.terminal.screen import Screen
from vxl.video.decoder.parallel import decoded_with
from vxl.vision.feature_cache import features_kept


def run_evaluation(config: EvaluateConfig, console: Console | None = None) -> list[Report]:
    """Evaluates what the config names: tables on the screen, JSON and pictures in the runs, rows in W&B.

    Returns:
        A report for each model and member; fewer where some failed, which a line says.

    Raises:
        ConfigError: There is no such run, or a change is not possible.
        CheckpointError: It has no such checkpoint, or results can't be written.
        DataError: Videos are missing or can't be read.
    """
    with patience_of(config.patience, "patience"), decoded_with(config.threads):
        return _run(config, console or Screen())


def _run(config: EvaluateConfig, console: Console) -> list[Report]:
    all_subjects = subjects(config)
    if wants_workers(config) and not start(config, console):
        return []
    several = len(all_subjects) > 1
    reports: list[Report] = []
    failures: list[tuple[str, str]] = []
    for subject in all_subjects:
        if subject.note is not None:
            console.print(subject.note, markup=False)
        try:
            with _kept(config, subject):
                reports += Evaluation(config, subject, console).reports(failures)
        except (ConfigError, CheckpointError) as error:
            if not several:
                raise
            failures.append((subject.name, str(error).splitlines()[0]))
    if os.environ.get(WORKER):
        return reports
    if len(reports) + len(failures) > 1:
        folder = all_subjects[0].place if not several else all_subjects[0].place.parent.parent / "evaluate"
        show_group(reports, failures, console, folder)
    if not reports and failures:
        raise ConfigError("\n\n".join(f"{name}: {reason}" for name, reason in failures))
    return reports


def _kept(config: EvaluateConfig, subject: Subject) -> AbstractContextManager[None]:
    """Inside, frames and features are kept as the command says, else as the run was trained."""
    trained = subject.values.get("data") or {}
    what = config.cache or trained.get("cache", "none")
    gib = trained.get("cache_gib", 20.0) if config.cache_gib is None else config.cache_gib
    return features_kept(what, config.paths.cache, gib)
