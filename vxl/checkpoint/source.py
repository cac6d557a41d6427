"""Where a model comes from: what a name or a path means, found once and read once.

`vxl ask`, `vxl.load`, `evaluate`, `vxl export`, `weights=` and `init_from=` all take the same names: a run,
one of its checkpoints, a folder of weights (vxl's own or a published one), a resolved config.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vxl.checkpoint.layouts import CONFIG, is_published, is_vxl, weights_below
from vxl.checkpoint.resolved import read_config
from vxl.checkpoint.step_folder import StepFolder, choose_step
from vxl.errors import CheckpointError, ConfigError
from vxl.run.find import find_run, missing
from vxl.terminal.typed import can_be_path

if TYPE_CHECKING:  # late: torch takes 2 s, and to find a source needs none of it
    from torch import nn

    from vxl.checkpoint.weights import Weights


@dataclass(frozen=True)
class Source:
    """A run with one of its checkpoints, a folder of weights, or a config without weights."""

    kind: Literal["run", "vxl", "published", "config"]
    """`vxl` and `published` are folders of weights."""
    path: Path
    """The run's directory, the folder of weights, or the YAML file."""
    step: StepFolder | None = None
    """Of a run: the checkpoint that is meant."""
    _opened: dict[tuple[str, ...], "Weights"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folder(self) -> Path | None:
        """The folder that holds the weights; None for a config alone."""
        if self.kind == "config":
            return None
        return self.path if self.step is None else self.step.path

    @property
    def is_folder_of_weights(self) -> bool:
        """Whether the weights need no run around them."""
        return self.kind in ("vxl", "published")

    def values(self, overrides: Sequence[str] = (), also: Sequence[str] = ()) -> dict[str, Any]:
        """The resolved config.

        Args:
            overrides: Changes to it, `KEY=VALUE` or `GROUP=NAME`.
            also: Other words that a mistyped key may have meant, for the message.

        Raises:
            ConfigError: It is not there or damaged, or an override does not fit.
        """
        if self.kind == "published":
            return self.weights(overrides).values
        return read_config(self.path if self.kind == "config" else self.path / CONFIG, overrides, also)

    def weights(self, overrides: Sequence[str] = ()) -> "Weights":
        """The tensors by name, none of them read yet, with the config.

        Args:
            overrides: For folders of weights: changes to the config, and what config.json leaves open.

        Raises:
            CheckpointError: Something is missing, unknown, damaged, or of the wrong shape.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.open_weights import open_weights
        from vxl.checkpoint.run_weights import open_run

        if tuple(overrides) not in self._opened:
            if self.step is not None:
                weights = open_run(self.path, self.step)
            elif self.is_folder_of_weights:
                weights = open_weights(self.path, overrides)
            else:
                raise CheckpointError(f"{self.path} is a config and holds no weights.")
            self._opened[tuple(overrides)] = weights
        return self._opened[tuple(overrides)]

    def fill(self, model: "nn.Module", **where: Any) -> None:
        """Fills a model with the weights, all of which must fit.

        Args:
            model: A model in memory; of a sharded one only this rank's part is read. From a folder of weights
                also one that is only outlined (`skeleton`).
            **where: For an outlined model: `device` and `dtype` of its tensors.

        Raises:
            CheckpointError: The weights are incomplete, damaged, or not the model's.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.fill import fill, fill_from_step, heads_of, warn_of_other_settings
        from vxl.model import VideoLanguageModel

        if self.step is not None:
            fill_from_step(self.step, model)
            return
        assert isinstance(model, VideoLanguageModel)
        weights = self.weights(heads_of(model))
        fill(model, weights, **where)
        warn_of_other_settings(weights, model)


def find_source(name: str | Path, runs: Path, checkpoint: str | int = "last") -> Source:
    """What a name or a path means.

    Args:
        name: A run (its name below `runs`, or its directory), one of its checkpoint folders, a folder of
            weights, or a resolved YAML file.
        runs: The folder of runs.
        checkpoint: Which of a run's checkpoints: "last", "best", or a step.

    Raises:
        ConfigError: There is nothing of that name; the message lists the nearest.
        CheckpointError: The run has no such checkpoint.
    """
    path = Path(name).expanduser()
    if not can_be_path(path):
        raise ConfigError(missing(str(name), runs))
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        whole = path.name == CONFIG and is_vxl(path.parent)
        return Source("vxl", path.parent) if whole else Source("config", path)
    if is_vxl(path):
        return Source("vxl", path)
    if is_published(path):
        return Source("published", path)
    step = StepFolder(path)
    if path.parent.name == "checkpoints" and path.is_dir():
        step.refuse_incomplete()
        return Source("run", step.run, step)
    try:
        run = find_run(str(name), runs).path
    except ConfigError as error:
        if not path.is_dir() or len(path.parts) < 2:
            raise
        names = ", ".join(sorted(file.name for file in path.iterdir())[:8])
        near = "".join(f"\n  did you mean {folder}?" for folder in weights_below(path)[-1:])
        raise ConfigError(
            f"{path} holds no run and no weights.\n  it holds: {names or 'nothing'}{near}"
        ) from error
    return Source("run", run, choose_step(run, checkpoint))


def find_weights(weights: str, runs: Path) -> Source:
    """What `weights=` names.

    Raises:
        CheckpointError: There is nothing of that name.
    """
    try:
        return find_source(weights, runs)
    except ConfigError as error:
        raise CheckpointError(
            f"weights={weights}: neither a run in {runs}/ nor a checkpoint folder, nor a folder of weights.\n"
            "  type one of\n"
            "    weights=FOLDER                              published weights, or those of `vxl import`\n"
            "    weights=runs/NAME                           a run's last checkpoint\n"
            "    weights=runs/NAME/checkpoints/step-000123   this one\n"
            "    weights=random                              an untrained model"
        ) from error
