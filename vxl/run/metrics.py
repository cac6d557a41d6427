"""metrics.csv: a row for every logged step, only ever appended to, cut back to the checkpoint on resume."""

import csv
import io
from pathlib import Path

from vxl.atomic import write_text


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
        """Drops the rows after `step`, and a last line that a kill left unfinished; they will come again."""
        if self.path.exists():
            self._write([row for row in self.rows() if int(row["step"]) <= step])

    def rows(self) -> list[dict[str, str]]:
        """All complete rows, as text; empty cells are left out."""
        if not self.path.exists():
            return []
        whole, newline, _ = self.path.read_text().rpartition("\n")
        found = csv.DictReader(io.StringIO(whole + newline))
        return [{name: value for name, value in row.items() if value} for row in found]

    def values(self, name: str) -> list[tuple[int, float]]:
        """(step, value) wherever a metric was logged."""
        return [(int(row["step"]), float(row[name])) for row in self.rows() if name in row]

    def _header(self) -> list[str]:
        if not self.path.exists():
            return []
        line, newline, _ = self.path.read_text().partition("\n")
        return line.split(",") if newline else []

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())
