"""An evaluation as a W&B run of its own, in the group of the run that it evaluated, which it names."""

from pathlib import Path
from typing import Any

from vxl.evaluate.metrics import grouped, label_names, micro
from vxl.evaluate.report import Report
from vxl.evaluate.subjects import Subject, changed_settings
from vxl.evaluate.work.answers import read_answers
from vxl.evaluate.work.changes import shown
from vxl.logger.base import LoggerConfig
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.train.report.logged import without_noise


def log_evaluation(report: Report, path: Path, subject: Subject) -> None:
    """Numbers and costs in the summary, the picture, and tables: of all answers with frames, of scores by
    kind, of needles by depth and length.

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
        sink.log(report.logged(), _step(report.checkpoint))
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


def _step(checkpoint: str) -> int:
    """Optimizer steps that a checkpoint had taken; 0 of weights that are no run's."""
    number = checkpoint.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _tables(report: Report, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Tables by name, without those that would be empty."""
    tables = {
        "answers": _answers(report, path),
        "by_kind": _by_kind(report),
        "needle_map": _needle_map(report),
    }
    return {name: rows for name, rows in tables.items() if rows}


def _answers(report: Report, path: Path) -> list[dict[str, Any]]:
    """A row a question, with its labels and some of the frames that the model was shown."""
    folder = path.with_suffix("")
    raw = read_answers(folder, report.protocol.fingerprint)
    rows = []
    for item in report.graded:
        shown_file = folder / raw[item.key].shown if item.key in raw and raw[item.key].shown else None
        own = {name: ", ".join(item.labels.get(name, ())) for name in _labels(report)}
        rows.append(
            {
                "key": item.key,
                "kind": item.kind,
                **own,
                "frames": shown_file if shown_file is not None and shown_file.is_file() else None,
                "question": item.question,
                "options": " | ".join(item.options),
                "right": item.answer,
                "answer": item.text,
                "score": item.score,
            }
        )
    return rows


def _by_kind(report: Report) -> list[dict[str, Any]]:
    """A row a kind, and one a value of every other label; intervals by video where there are enough."""
    groups = {("kind", kind): [i for i in report.graded if i.kind == kind] for kind in report.kinds}
    for name in _labels(report):
        groups |= {(name, value): items for value, items in grouped(report.graded, name).items()}
    rows = []
    for (name, value), items in groups.items():
        found = micro(items).estimate
        low, high = found.interval or (None, None)
        own = {"by": name, "value": value, "score": found.mean, "low": low, "high": high}
        rows.append(own | {"questions": len(items)})
    return rows


def _labels(report: Report) -> list[str]:
    return [name for name in label_names(report.graded) if not name.startswith("_")]


def _needle_map(report: Report) -> list[dict[str, Any]]:
    """A row a cell of depth and length; nothing of other benchmarks."""
    cells: dict[tuple[str, str], list[float]] = {}
    for item in report.graded:
        if {"minutes", "depth"} <= item.labels.keys():
            cells.setdefault((item.labels["minutes"][0], item.labels["depth"][0]), []).append(item.score)
    return [
        {"minutes": float(minutes), "depth": float(depth), "found": sum(s) / len(s), "needles": len(s)}
        for (minutes, depth), s in cells.items()
    ]
