"""What an evaluation leaves: a table on the screen, JSON and a picture in the run directory."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vxl.atomic import whole_file, write_text
from vxl.evaluate.cost import Cost
from vxl.evaluate.scoring import Accuracy, Graded
from vxl.units import human_size


@dataclass(frozen=True, kw_only=True)
class Report:
    """One benchmark on one checkpoint."""

    benchmark: str
    run: str
    checkpoint: str
    """The checkpoint folder's name."""
    status: str
    """The run's status while it was evaluated; an unfinished run's numbers are not final."""
    settings: dict[str, Any]
    """What the numbers depend on besides the checkpoint."""
    overall: Accuracy
    kinds: dict[str, Accuracy]
    cost: Cost
    graded: list[Graded]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "benchmark": self.benchmark,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "status": self.status,
            "settings": self.settings,
            "accuracy": self.overall.plain(),
            "kinds": {kind: accuracy.plain() for kind, accuracy in self.kinds.items()},
            "cost": self.cost.plain(),
            "answers": [asdict(item) | {"right": item.right} for item in self.graded],
        }

    def metrics(self) -> dict[str, float]:
        """The numbers for a logger's row."""
        prefix = f"evaluate/{self.benchmark}"
        cost = {
            f"{prefix}/{name}": value
            for name, value in self.cost.plain().items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        kinds = {f"{prefix}/accuracy/{kind}": accuracy.share for kind, accuracy in self.kinds.items()}
        return {f"{prefix}/accuracy": self.overall.share, **kinds, **cost}


def write_json(report: Report, path: Path) -> None:
    """Writes the report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(report.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_figure(report: Report, path: Path) -> None:
    """Draws accuracy by kind of question with 95 % intervals, against chance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    axes.set_title(f"{report.run} · {report.benchmark}", fontsize="medium")
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120)


def show(report: Report, console: Console) -> None:
    """Prints accuracy by kind, then cost."""
    table = Table(
        title=escape(f"{report.benchmark} · {report.run} · {report.checkpoint}"), title_justify="left"
    )
    for name in ("questions", "accuracy", "95 % interval", "chance", "right", "no letter"):
        table.add_column(name, justify="left" if name == "questions" else "right")
    rows = list(report.kinds.items()) if len(report.kinds) > 1 else []
    for i, (kind, accuracy) in enumerate(rows):
        table.add_row(*_cells(kind, accuracy), end_section=i == len(rows) - 1)
    table.add_row(*_cells("all", report.overall), style="bold")
    console.print(table)
    console.print(cost_table(report.cost))
    if report.overall.total and not report.overall.beats_chance:
        console.print("the interval holds chance: these questions do not show that the model has learned")


def cost_table(cost: Cost) -> Table:
    """One row of cost."""
    table = Table(title="cost of a question (median)", title_justify="left")
    cells = {
        "prefill": f"{cost.prefill_ms:.1f} ms",
        "decode": "-" if math.isnan(cost.decode_tokens_per_s) else f"{cost.decode_tokens_per_s:.1f} tokens/s",
        "cache": human_size(cost.cache_bytes),
        f"peak memory ({cost.peak_memory_of})": human_size(cost.peak_memory_bytes),
        "frames": f"{cost.frames:.0f}",
        "visual tokens": f"{cost.visual_tokens:.0f}",
        "all questions": f"{cost.seconds:.1f} s",
    }
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    return table


def _cells(kind: str, accuracy: Accuracy) -> list[str]:
    low, high = accuracy.interval
    return [
        escape(kind),
        f"{100 * accuracy.share:.1f} %" if accuracy.total else "-",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{100 * accuracy.chance:.1f} %" if accuracy.total else "-",
        f"{accuracy.right}/{accuracy.total}",
        str(accuracy.unparsed),
    ]
