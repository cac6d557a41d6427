"""What a name or path means: a run, one of its checkpoints, a folder of weights, a config file."""

from pathlib import Path

from vxl.checkpoint.folder import choose, step_of
from vxl.errors import CheckpointError, ConfigError


def find(path: str | Path, runs: Path) -> Path:
    """The run directory, checkpoint folder, folder of weights or config file that a path or name means."""
    from vxl.checkpoint.source import is_weights

    given = Path(path).expanduser()
    if given.is_file() and given.suffix in (".yaml", ".yml"):
        return given
    if is_weights(given) or (given.parent.name == "checkpoints" and (given / ".metadata").exists()):
        return given
    from vxl.run.find import find_run

    return find_run(str(path), runs).path


def weights_of(place: Path, checkpoint: str | int = "last") -> tuple[Path, Path]:
    """(run directory, checkpoint folder) of a run directory or of one of its checkpoint folders.

    A folder of weights is both.
    """
    from vxl.checkpoint.source import is_weights

    if is_weights(place):
        return place, place
    if place.parent.name == "checkpoints":
        place, checkpoint = place.parent.parent, step_of(place)
    return place, choose(place, checkpoint)


def named_weights(weights: str, runs: Path) -> tuple[Path, Path]:
    """The run and checkpoint folder that `weights=` names.

    Raises:
        CheckpointError: There is none of that name.
    """
    try:
        place = find(weights, runs)
    except ConfigError as error:
        raise CheckpointError(
            f"weights={weights}: neither a run in {runs}/ nor a checkpoint folder, nor a folder of weights.\n"
            "  type one of\n"
            "    weights=FOLDER                              published weights, or those of `vxl import`\n"
            "    weights=runs/NAME                           a run's last checkpoint\n"
            "    weights=runs/NAME/checkpoints/step-000123   this one\n"
            "    weights=random                              an untrained model"
        ) from error
    return weights_of(place)
