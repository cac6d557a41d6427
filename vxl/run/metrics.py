"""metrics.csv: a row for every logged step, only ever appended to, cut back to the checkpoint on resume."""

import contextlib
import csv
import io
import logging
from pathlib import Path

from vxl.atomic import write_text

log = logging.getLogger(__name__)


class MetricsFile:
    """The numbers of a run. A metric that comes up later gets a column of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = self._header()

    def append(self, step: int, numbers: dict[str, float]) -> None:
        """Adds a row; several rows of one step are read as one."""
        new = [name for name in numbers if name not in self.columns]
        if new or not self.path.exists():
            rows = self.rows()
            self.columns = [*(self.columns or ["step"]), *new]
            self._write(rows)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow({"step": step, **numbers})

    def cut(self, step: int) -> None:
        """Drops the rows after `step`, and a last line that a kill left unfinished; they will come again.

        A file whose header is damaged is set aside, since its columns can't be told any more.
        """
        if self.path.exists() and "step" not in self.columns and self.path.stat().st_size:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            self.columns = []
            log.warning("%s is damaged: it begins anew, the old one is %s", self.path, aside.name)
        rows = [row for row in self.rows() if int(row["step"]) <= step]
        if step > 0 and not rows:
            log.warning("%s has no rows up to step %d: what was logged until then is lost", self.path, step)
        if self.path.exists() and self.columns:
            self._write(rows)

    def rows(self) -> list[dict[str, str]]:
        """All complete rows, as text; empty cells are left out, and so are lines without a step."""
        if "step" not in self.columns:
            return []
        whole, newline, _ = self._text().rpartition("\n")
        reader = csv.DictReader(io.StringIO(whole + newline), strict=False)
        return [
            {name: value for name, value in row.items() if name in self.columns and value}
            for row in reader
            if (row.get("step") or "").isdecimal()
        ]

    def values(self, name: str) -> list[tuple[int, float]]:
        """(step, value) wherever a metric was logged; cells that hold no number are left out."""
        values = []
        for row in self.rows():
            with contextlib.suppress(KeyError, ValueError):
                values.append((int(row["step"]), float(row[name])))
        return values

    def _text(self) -> str:
        """The file's text; bytes that are none become marks that no number has."""
        return self.path.read_text(errors="replace").replace("\0", "\ufffd") if self.path.exists() else ""

    def _header(self) -> list[str]:
        line, newline, _ = self._text().partition("\n")
        return line.split(",") if newline else []

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())
