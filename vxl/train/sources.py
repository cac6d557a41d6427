"""Whether the weights are there that a new run is to start from."""

from pathlib import Path

from vxl.checkpoint.source import find_source, find_weights
from vxl.run.directory import status_of
from vxl.train.config import TrainConfig


def refuse_missing_start(config: TrainConfig) -> None:
    """Looks for the weights that a new run is to start from, without reading them.

    Raises:
        VxlError: `weights=` or `init_from=` names nothing that is there.
    """
    if status_of(config) != "new":  # a checkpoint will fill the model
        return
    runs = Path(config.paths.runs)
    if config.weights != "random":
        find_weights(config.weights, runs)
    if config.init_from is None:
        return
    path = Path(config.init_from).expanduser()
    is_of_parts = path.is_file() or (path.is_dir() and any(path.glob("*.safetensors")))
    if not is_of_parts:
        find_source(config.init_from, runs)
