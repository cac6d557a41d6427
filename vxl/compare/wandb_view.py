"""`vxl wandb SWEEP`: a saved W&B view with the panels of the page, by the package wandb-workspaces."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vxl.compare.comparison import Comparison
from vxl.compare.member import COSTS, Cost
from vxl.errors import ConfigError, LostError
from vxl.logger.wandb import logged_in
from vxl.option.files import CONF
from vxl.run.find import Run

if TYPE_CHECKING:  # late: wandb_workspaces, an optional package
    from wandb_workspaces.reports.v2.interface import Config, SummaryMetric
    from wandb_workspaces.workspaces import Section, Workspace

CURVES = ("val/accuracy", "val/loss", "loss")
"""Numbers whose curves are drawn, a picture for each key that training differs in."""


@dataclass(frozen=True)
class Place:
    """Where a sweep's runs lie in W&B."""

    group: str
    project: str
    entity: str | None
    """None: the account's default."""


def place_of(runs: Sequence[Run]) -> Place:
    """Where the members of one sweep were logged.

    Raises:
        ConfigError: They are of several sweeps or projects, of none, or not in W&B.
    """
    found: dict[Place, str] = {}
    for run in runs:
        settings = run.config.get("logger") or {}
        if (run.path / "wandb_id.txt").is_file() and "project" in settings:
            named, project, entity = (
                value if isinstance(value, str) and not set(value) & set("'\"\\") else ""  # anybody's config
                for value in (run.config.get("sweep_name"), settings["project"], settings.get("entity"))
            )
            group = named or run.name.rpartition("/")[0]
            found.setdefault(Place(group, project, entity or None), run.name)
    if not found:
        raise ConfigError(
            f"none of the runs is in W&B ({runs[0].name}, …).\n"
            "  log them there:  python train.py … logger=wandb     (without an account it works offline)"
        )
    if len(found) > 1 or not next(iter(found)).group:
        seen = ", ".join(f"{name}: group {place.group or 'none'}" for place, name in found.items())
        raise ConfigError(f"a view is of one sweep, which is a group in W&B.\n  found: {seen}")
    return next(iter(found))


def is_online() -> bool:
    """Whether W&B can be reached: there is a login, and it is not switched off."""
    return logged_in() and os.environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun")


def view_of(found: Comparison, place: Place) -> "Workspace":
    """The view, not saved yet.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    try:
        from wandb_workspaces import workspaces as ws  # late: wandb_workspaces, an optional package
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a W&B view needs wandb-workspaces, which is not installed.\n"
            "  install it:  pip install wandb-workspaces\n"
            "  the same panels without it:  vxl compare SWEEP html=page.html"
        ) from error
    sections = [_scores(found), _parallel(found), _curves(found), _answers(found)]
    return ws.Workspace(
        entity=place.entity or "",
        project=place.project,
        name=f"vxl {place.group}",
        sections=[section for section in sections if section.panels],
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("Group") == place.group],
            pinned_columns=["summary:status", *(f"summary:{name}" for name in _results(found))],
        ),
    )


def as_json(view: "Workspace") -> str:
    """What would be sent to W&B."""
    model = view._to_model()
    spec = model.spec.model_dump(by_alias=True, exclude_none=True)
    whole = {"entity": view.entity, "project": view.project, "name": view.name, "spec": spec}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def panels_of(view: "Workspace") -> list[tuple[str, list[str]]]:
    """[(section, what its panels show)], for the terminal."""
    return [(section.name, [_said(panel) for panel in section.panels]) for section in view.sections]


def save(view: "Workspace") -> str:
    """Creates the view and returns its address.

    Raises:
        LostError: W&B does not answer, or refuses.
    """
    import wandb  # late: wandb, for runs that log there alone

    try:
        if not view.entity:
            view.entity = str(wandb.Api().default_entity)
        view.save()
        return view.url
    except Exception as error:  # of wandb, of GraphQL, of the network: whatever it meets
        why = " ".join(str(error).split())[:300]
        raise LostError(
            f"W&B did not take the view: {why}\n  without it:  WANDB_MODE=offline   writes it as JSON"
        ) from error


def _scores(found: Comparison) -> "Section":
    """Each score against each cost that differs; the running maximum is the front."""
    # late: wandb_workspaces, an optional package
    from wandb_workspaces.reports.v2.interface import ScatterPlot, SummaryMetric
    from wandb_workspaces.workspaces import Section

    panels: list[Any] = [
        ScatterPlot(
            title=f"{name}: {score} against {_key(cost)}",
            x=SummaryMetric(_logged(name, cost)),
            y=SummaryMetric(f"evaluate/{name}/{score}"),
            running_ymax=True,
        )
        for name, score in _metrics(found).items()
        for cost in _asked(found, name)
    ]
    panels.append(
        ScatterPlot(
            title="held-out accuracy against visual tokens a frame",
            x=SummaryMetric("final/visual_tokens_a_frame"),
            y=SummaryMetric("final/heldout_accuracy"),
            running_ymax=True,
        )
    )
    return Section(name="Score against cost", panels=panels, is_open=True)


def _parallel(found: Comparison) -> "Section":
    """One picture a benchmark, as an evaluation is a run of its own; and one of the trainings."""
    # late: wandb_workspaces, an optional package
    from wandb_workspaces.reports.v2.interface import ParallelCoordinatesPlot, ParallelCoordinatesPlotColumn
    from wandb_workspaces.reports.v2.interface import SummaryMetric as Number
    from wandb_workspaces.workspaces import Section

    def picture(title: str, numbers: Sequence[str]) -> Any:
        axes: list[Config | SummaryMetric] = [*map(_config, found.keys), *map(Number, numbers)]
        return ParallelCoordinatesPlot(
            title=title, columns=[ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]
        )

    panels = [
        picture(name, [*(_logged(name, cost) for cost in _asked(found, name)), f"evaluate/{name}/{score}"])
        for name, score in _metrics(found).items()
    ]
    trained = ("final/visual_tokens_a_frame", "final/seconds", "final/heldout_loss", "final/heldout_accuracy")
    return Section(name="Everything at once", panels=[*panels, picture("training", trained)], is_open=True)


def _curves(found: Comparison) -> "Section":
    """Runs that share a value are one curve, their mean, with the deviation of the rest as a band."""
    from wandb_workspaces.reports.v2.interface import LinePlot  # late: wandb_workspaces, an optional package
    from wandb_workspaces.workspaces import Section

    panels: list[Any] = [
        LinePlot(
            title=f"{number}, mean of equal {key}",
            y=[number],
            groupby=_config(key).name,
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for key in _trained_keys(found)
        for number in CURVES
    ] or [LinePlot(title=number, y=[number]) for number in CURVES]
    return Section(name="Training, seeds together", panels=panels, is_open=True)


def _answers(found: Comparison) -> "Section":
    # late: wandb_workspaces, an optional package
    from wandb_workspaces.reports.v2.interface import MediaBrowser, RunComparer, WeavePanelSummaryTable
    from wandb_workspaces.workspaces import Section

    tables = ["val/predictions"]
    if found.benchmarks:
        tables[:0] = ["by_kind", "answers"]
    if any("needle" in name for name in found.benchmarks):
        tables.append("needle_map")
    panels: list[Any] = [WeavePanelSummaryTable(table_name=name) for name in tables]
    panels += [MediaBrowser(title="pictures", media_keys=["picture", "val/frames"])]
    return Section(name="Answers", panels=[*panels, RunComparer(diff_only="split")])


def _said(panel: Any) -> str:
    return str(getattr(panel, "title", None) or getattr(panel, "table_name", None) or "what runs differ in")


def _config(key: str) -> "Config":
    """A key as it is logged: options by their name stand under `choices`."""
    from wandb_workspaces.reports.v2.interface import Config  # late: wandb_workspaces, an optional package

    return Config(f"choices.{key}" if (CONF / key).is_dir() else key)


def _trained_keys(found: Comparison) -> list[str]:
    """Keys that trainings differ in, without the seed."""
    changed = {word.partition("=")[0] for member in found.members for word in member.change.split(",")}
    return [key for key in found.keys if key != "seed" and key not in changed]


def _metrics(found: Comparison) -> dict[str, str]:
    """The headline metric of each benchmark."""
    metrics: dict[str, str] = {}
    for member in found.members:
        for name, score in member.scores.items():
            metrics.setdefault(name, score.metric)
    return metrics


def _results(found: Comparison) -> list[str]:
    scores = [f"evaluate/{name}/{score}" for name, score in _metrics(found).items()]
    return [*scores, "final/heldout_accuracy", "final/heldout_loss"]


def _asked(found: Comparison, benchmark: str) -> list[Cost]:
    """Costs of answering that are known and drawn."""
    known = [cost for cost in COSTS if cost.label and (cost.asked or cost.key == "tokens a frame")]
    return [c for c in known if any(c.of(benchmark)(member) is not None for member in found.members)]


def _logged(benchmark: str, cost: Cost) -> str:
    return f"evaluate/{benchmark}/{_key(cost)}"


def _key(cost: Cost) -> str:
    return "visual_tokens_a_frame" if cost.key == "tokens a frame" else cost.key
