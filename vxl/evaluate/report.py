"""What an evaluation leaves: scores as JSON and a picture in the run directory, rows for a logger.

The JSON holds nothing that depends on when, where and by how many workers the questions were answered, so it
is the same bytes for the same answers; costs are kept beside it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vxl.atomic import whole_file, write_text
from vxl.errors import DataError
from vxl.evaluate.cost import Cost
from vxl.evaluate.fingerprint import Protocol
from vxl.evaluate.metrics import Metric, grouped, label_names, majority_share, micro, position_bias, scored
from vxl.evaluate.scoring import Accuracy, Graded
from vxl.evaluate.work.answers import key_of_other_kind
from vxl.statistics import wilson


@dataclass(frozen=True, kw_only=True)
class Report:
    """One benchmark on one model under one set of policies."""

    benchmark: str
    run: str
    checkpoint: str
    """The checkpoint folder's name."""
    status: str
    """The run's status while it was evaluated; an unfinished run's numbers are not final."""
    member: str = ""
    """What was changed at evaluation; empty for the model as it was trained."""
    settings: dict[str, Any]
    """What the numbers depend on besides the checkpoint."""
    protocol: Protocol
    overall: Accuracy
    kinds: dict[str, Accuracy]
    metrics: list[Metric]
    """The benchmark's own numbers, the headline first; none where only a judge could score."""
    cost: Cost
    graded: list[Graded]
    missing: list[str] = field(default_factory=list)
    """Keys of items whose video is not there."""
    dropped: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """This command's."""

    @property
    def title(self) -> str:
        """The run and what was changed of it."""
        return f"{self.run} {self.member}".strip()

    @property
    def failed(self) -> list[Graded]:
        """Items without an answer, which count as wrong."""
        return [item for item in self.graded if item.failed is not None]

    @property
    def incomplete(self) -> str | None:
        """`n of N` where videos were missing or failed."""
        absent = len(self.missing) + len(self.failed)
        whole = len(self.graded) + len(self.missing)
        return f"{whole - absent} of {whole}" if absent else None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        labels = {
            name: {
                value: micro(items).estimate.plain() | {"questions": len(items), "wilson": _wilson(items)}
                for value, items in grouped(self.graded, name).items()
            }
            for name in label_names(self.graded)
            if not name.startswith("_")
        }
        best = majority_share(self.graded)
        values: dict[str, Any] = {
            "benchmark": self.benchmark,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "status": self.status,
            "member": self.member,
            "settings": self.settings,
            "protocol": self.protocol.plain(),
            "accuracy": self.overall.plain(),
            "metrics": [metric.plain() for metric in self.metrics],
            "bootstrap": self.metrics[0].bootstrap if self.metrics else None,
            "kinds": {kind: accuracy.plain() for kind, accuracy in self.kinds.items()},
            "labels": labels,
            "majority_letter": None if best is None else {"letter": best[0], "share": best[1]},
            "letters": {
                letter: {"answered": share, "right": gold}
                for letter, (share, gold) in position_bias(self.graded).items()
            },
            "failed": {item.key: item.failed for item in self.failed},
            "dropped": self.dropped,
            "mended": self.mended,
            "notes": self.notes,
        }
        if self.metrics and self.metrics[0].units != scored(self.graded):
            # Without them a later comparison could not pair what the headline counts.
            values["headline_units"] = [list(unit) for unit in self.metrics[0].units]
        if self.missing:
            right = sum(item.score for item in self.graded)
            values["missing"] = self.missing
            values["incomplete"] = self.incomplete
            values["accuracy_if_missing_wrong"] = right / (len(self.graded) + len(self.missing))
        return values | {"answers": [_answer(item) for item in self.graded]}

    def logged(self) -> dict[str, float]:
        """The numbers for a logger's row."""
        prefix = f"evaluate/{self.benchmark}"
        cost = {
            f"{prefix}/{name}": value
            for name, value in self.cost.plain().items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if self.cost.frames:
            cost[f"{prefix}/visual_tokens_a_frame"] = self.cost.visual_tokens / self.cost.frames
        kinds = {f"{prefix}/accuracy/{kind}": accuracy.share for kind, accuracy in self.kinds.items()}
        own = {f"{prefix}/{metric.name}": metric.estimate.mean for metric in self.metrics}
        overall = {f"{prefix}/accuracy": self.overall.share} if self.overall.total else {}
        return {**overall, **own, **kinds, **cost}


def write_json(report: Report, path: Path) -> None:
    """Writes the report whole or not at all, and the costs into the folder of its answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(report.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    write_text(folder / "cost.json", json.dumps(report.cost.plain(), indent=1) + "\n")


def read_report(path: Path) -> dict[str, Any]:
    """A report's JSON with its costs under `cost`, as earlier releases kept them in one file.

    Args:
        path: `evaluate/<benchmark>.json`.

    Raises:
        DataError: One of them is damaged, or an answer is none.
    """
    report = _object_in(path)
    for number, answer in enumerate(report.get("answers") or []):
        if (wrong := _wrong_in(answer)) is not None:
            raise DataError(f"{path}: answer {number} {wrong}.\n  evaluate again, or remove it")
    beside = path.with_suffix("") / "cost.json"
    if beside.is_file():
        report["cost"] = _object_in(beside)
    return report


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("key", "cluster", "kind", "question", "answer", "text"), str),
    **{"options": list, "parsed": str | None, "right": bool, "score": int | float},
    **{"labels": dict, "verdict": dict, "failed": str},
}
"""What stands in an answer (`_answer`), which anybody may have written."""


def _wrong_in(answer: Any) -> str | None:
    """What makes a value of JSON no answer; None: it is one."""
    if not isinstance(answer, dict):
        return f"is a {type(answer).__name__}"
    key = key_of_other_kind(answer, _KINDS)
    return None if key is None else f"has a {type(answer[key]).__name__} for its {key!r}"


def _object_in(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read: {error}\n  evaluate again, or remove it") from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path} holds a {type(value).__name__}, and no report.\n  evaluate again, or remove it"
        )
    return value


def write_figure(report: Report, path: Path) -> None:
    """Draws accuracy by kind of question with 95 % intervals, against chance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: matplotlib, for drawings alone
    from matplotlib.figure import Figure

    rows = [("all", report.overall), *report.kinds.items()]
    figure = Figure(figsize=(6.4, 0.9 + 0.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for y, (_, accuracy) in enumerate(rows):
        low, high = accuracy.interval
        axes.plot([low, high], [y, y], color="tab:blue", linewidth=2, zorder=1)
        axes.plot(accuracy.share, y, "o", color="tab:blue", zorder=2)
        axes.plot(accuracy.chance, y, "|", color="tab:red", markersize=14, zorder=3)
    axes.set_yticks(range(len(rows)), [f"{kind} ({accuracy.total})" for kind, accuracy in rows])
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, 95 % interval; red: chance")
    axes.set_title(f"{report.title} · {report.benchmark}", fontsize="medium")
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120)


def _wilson(graded: Sequence[Graded]) -> list[float] | None:
    """Wilson's interval, which few answers have too; None for scores between 0 and 1."""
    if any(item.given is not None and item.given not in (0.0, 1.0) for item in graded):
        return None
    return list(wilson(sum(item.score == 1.0 for item in graded), len(graded)))


def _answer(item: Graded) -> dict[str, Any]:
    """One answer for JSON: what was asked, what was said, what it is worth."""
    record: dict[str, Any] = {
        "key": item.key,
        "cluster": item.cluster,
        "kind": item.kind,
        "question": item.question,
        "options": list(item.options),
        "answer": item.answer,
        "text": item.text,
        "parsed": item.parsed,
        "right": item.right,
    }
    if item.given is not None:
        record["score"] = item.given
    if item.verdict is not None:
        record["verdict"] = item.verdict
    labels = {name: list(values) for name, values in item.labels.items() if not name.startswith("_")}
    if labels:
        record["labels"] = labels
    if item.failed is not None:
        record["failed"] = item.failed
    return record
