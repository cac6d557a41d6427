"""The members of a sweep, or runs and evaluations, read from disk and compared: what every view shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vxl.compare.differences import Configs
from vxl.compare.member import Column, Member, benchmarks_of, columns_of, parts_of
from vxl.compare.pairs import Pair, against
from vxl.compare.score import score_of
from vxl.compare.setting import Setting, settings_of
from vxl.errors import ConfigError
from vxl.evaluate.report import read_report
from vxl.option.rebuild import nearest
from vxl.run.find import Run
from vxl.statistics import Spread, spread


@dataclass(frozen=True)
class Comparison:
    """Members side by side, seeds of one setting together, and every setting against one of them."""

    title: str
    members: list[Member]
    columns: list[Column]
    base: Setting | None
    """What the others are compared with."""
    settings: list[Setting]
    pairs: list[Pair] = field(default_factory=list)
    """Each other setting against the base, by benchmark."""

    @property
    def keys(self) -> list[str]:
        """The config keys that differ."""
        return list(self.members[0].differences) if self.members else []

    @cached_property
    def benchmarks(self) -> list[str]:
        """Benchmarks that any setting has a score of."""
        return [name for name in benchmarks_of(self.members) if any(name in m.scores for m in self.members)]

    @cached_property
    def varying(self) -> list[Column]:
        """The numbers that have a column: not the costs that are the same for all members."""
        return [column for column in self.columns if self._constant(column) is None]

    @cached_property
    def constants(self) -> list[str]:
        """`steps 150`: costs that are the same for all members, which are said once."""
        known = [(column, self._constant(column)) for column in self.columns]
        return [f"{column.name} {column.text(value)}" for column, value in known if value is not None]

    def _constant(self, column: Column) -> float | None:
        first, *others = [column.value(member) for member in self.members]
        is_same = bool(others) and all(other == first for other in others)
        return first if column.is_cost and is_same else None

    @property
    def tests(self) -> int:
        """Paired comparisons that are shown together, for which p is corrected."""
        return sum(pair.test is not None for pair in self.pairs)

    def pair(self, benchmark: str, setting: Setting) -> Pair | None:
        """A setting against the base on a benchmark; None where there is no such comparison."""
        pairs = (p for p in self.pairs if p.benchmark == benchmark and p.other is setting)
        return next(pairs, None)

    def spread(self, column: Column, members: Sequence[Member]) -> Spread | None:
        """Mean and deviation of one number over members; None where none has it."""
        values = [value for member in members if (value := column.value(member)) is not None]
        return spread(values) if values else None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        over_seeds = []
        for setting in self.settings:
            if len(setting.finished) > 1:
                spreads = {column.name: self.spread(column, setting.finished) for column in self.columns}
                over_seeds.append(
                    {
                        "setting": setting.differences,
                        "runs": [member.run.name for member in setting.finished],
                        "metrics": {name: value._asdict() for name, value in spreads.items() if value},
                    }
                )
        return {
            "members": [member.plain() for member in self.members],
            "over_seeds": over_seeds,
            "scores": [score for setting in self.settings for score in setting.plain()],
            "against": None if self.base is None else self.base.name,
            "differences": [pair.plain() for pair in self.pairs],
        }


def compare(runs: Sequence[Run], *, title: str = "", base: str | None = None) -> Comparison:
    """Reads the members' configs and numbers.

    Args:
        runs: At least one.
        title: Of the page and the tables.
        base: What the others are compared with: a member's name, or one of its settings (`ratio=4`); None for
            the first.

    Raises:
        ConfigError: No setting is called `base`.
    """
    configs = Configs([run.config for run in runs])
    evaluations = [(run, change, reports) for run in runs for change, reports in _evaluations(run)]
    rows = configs.rows(
        [(runs.index(run), run.path.name, change, parts_of(reports)) for run, change, reports in evaluations]
    )
    members = [
        Member(
            run=run,
            status=run.status,
            differences=differences,
            result=run.result or dict(run.metrics),
            benchmarks=reports,
            scores={
                name: score
                for name, report in reports.items()
                if (score := score_of(name, report)) is not None
            },
            change=change,
        )
        for (run, change, reports), differences in zip(evaluations, rows, strict=True)
    ]
    settings = settings_of(members)
    first = _base(settings, base)
    names = benchmarks_of(members)
    pairs = [] if first is None else against(first, [s for s in settings if s is not first], names)
    return Comparison(title, members, columns_of(members), first, settings, pairs)


def _evaluations(run: Run) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """[(what was changed, its reports by benchmark)], the model as it was trained first.

    A run whose every evaluation changed something is shown by these alone.
    """
    folder = run.path / "evaluate"
    own_reports = {path.stem: read_report(path) for path in _reports(folder)}
    reports_of_changes = [
        (sub.name, {path.stem: read_report(path) for path in _reports(sub)}) for sub in _folders(folder)
    ]
    with_reports = [(name, reports) for name, reports in reports_of_changes if reports]
    return ([("", own_reports)] if own_reports or not with_reports else []) + with_reports


def _reports(folder: Path) -> list[Path]:
    """A folder's reports; tables of a whole group and costs are none."""
    return [
        path
        for path in sorted(folder.glob("*.json"))
        if path.name != "cost.json" and not path.name.startswith("group-")
    ]


def _folders(folder: Path) -> list[Path]:
    """Folders of evaluations that changed something (`kv=snapkv,kv.keep=0.25`)."""
    return sorted(path for path in folder.glob("*=*") if path.is_dir())


def _base(settings: Sequence[Setting], name: str | None) -> Setting | None:
    if name is None:
        with_score = [setting for setting in settings if setting.scored]
        return next(iter(with_score or settings), None)
    for setting in settings:
        names = {setting.name, *(f"{key.rpartition('.')[2]}={value}" for key, value in _own(setting))}
        if name in names or any(name in (m.name, m.run.name, m.run.path.name) for m in setting.members):
            return setting
    all_names = list(dict.fromkeys(setting.name for setting in settings))
    close = nearest(name, all_names)
    raise ConfigError(
        f"base={name} is none of what is compared."
        + (f"\n  did you mean {' or '.join(close)}?" if close else "")
        + f"\n  there are: {', '.join(all_names[:12])}"
    )


def _own(setting: Setting) -> list[tuple[str, str]]:
    return list(setting.differences.items())
