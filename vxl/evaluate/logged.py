"""An evaluation as a W&B run of its own, in the group of the run that it evaluated, which it names."""

from pathlib import Path
from typing import Any

from vxl.evaluate.report import Report
from vxl.evaluate.subjects import Subject, changed_settings
from vxl.evaluate.work.answers import read_answers
from vxl.evaluate.work.changes import shown
from vxl.logger.base import LoggerConfig
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.train.report.logged import without_noise

MOST = 500
"""Rows of the table of answers."""


def log_evaluation(report: Report, path: Path, subject: Subject) -> None:
    """Numbers and costs in the summary, a table of answers with frames, the picture, a needle map as table.

    Args:
        report: What was found.
        path: `evaluate/<benchmark>.json`; W&B's files and the run's id lie in the folder of its answers.
        subject: A run that is in W&B.
    """
    run = subject.run
    assert run is not None
    values = changed_settings(subject, report.settings["changes"])
    sink = build(
        rebuild(LoggerConfig, subject.values["logger"], "logger"),
        directory=path.with_suffix(""),
        name=f"{run.name} {report.benchmark} {shown(report.member)}".strip(),
        group=subject.values.get("sweep_name") or run.name.rpartition("/")[0] or None,
        settings=without_noise(values) | _about(report, subject),
        job_type="evaluate",
    )
    code = 1
    try:
        sink.log(report.logged(), 0)
        sink.facts(_facts(report))
        picture = path.with_suffix(".png")
        sink.show(_tables(report, path), {"picture": picture} if picture.is_file() else {})
        code = 0
    finally:
        sink.finish(code)


def _about(report: Report, subject: Subject) -> dict[str, Any]:
    """What is evaluated, and by which run it was trained."""
    assert subject.run is not None
    return {
        "benchmark": report.benchmark,
        "evaluated_run": subject.run.name,
        "evaluated_run_id": (subject.run.path / "wandb_id.txt").read_text().strip(),
        "checkpoint": report.checkpoint,
        "change": report.member,
        "evaluate": {name: value for name, value in report.settings.items() if name != "changes"},
    }


def _facts(report: Report) -> dict[str, Any]:
    """What the numbers are worth."""
    facts: dict[str, Any] = {
        f"evaluate/{report.benchmark}/protocol": report.protocol.short,
        f"evaluate/{report.benchmark}/questions": report.overall.total,
        f"evaluate/{report.benchmark}/chance": report.overall.chance,
        "status": report.status,
    }
    if report.metrics and (interval := report.metrics[0].estimate.interval) is not None:
        facts |= {f"evaluate/{report.benchmark}/{end}": getattr(interval, end) for end in ("low", "high")}
    return facts


def _tables(report: Report, path: Path) -> dict[str, list[dict[str, Any]]]:
    folder = path.with_suffix("")
    raw = read_answers(folder, report.protocol.fingerprint)
    answers, cells = [], {}
    for item in report.graded:
        if {"minutes", "depth"} <= item.labels.keys():
            cells.setdefault((item.labels["minutes"][0], item.labels["depth"][0]), []).append(item.score)
        shown_file = folder / raw[item.key].shown if item.key in raw and raw[item.key].shown else None
        answers.append(
            {
                "key": item.key,
                "kind": item.kind,
                "frames": shown_file if shown_file is not None and shown_file.is_file() else None,
                "question": item.question,
                "options": " | ".join(item.options),
                "right": item.answer,
                "answer": item.text,
                "score": item.score,
            }
        )
    tables = {"answers": answers[:MOST]} if answers else {}
    if cells:
        tables["needle_map"] = [
            {"minutes": float(minutes), "depth": float(depth), "found": sum(s) / len(s), "needles": len(s)}
            for (minutes, depth), s in cells.items()
        ]
    return tables
