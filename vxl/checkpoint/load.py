"""`vxl.load`: a trained (or random) model with tokenizer and config, from a run directory or a config file.

Needs torch, transformers and PyYAML; not Hydra, Lightning or W&B.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vxl.config.explain import CONF
from vxl.config.plugins import load_plugins
from vxl.config.rebuild import nearest, rebuild
from vxl.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from vxl.config.schema import ModelParts
    from vxl.model import VideoLanguageModel


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to watch and answer."""

    model: "VideoLanguageModel"
    tokenizer: "PreTrainedTokenizerFast"
    config: "ModelParts"
    """Its parts' settings, overrides included."""
    values: dict[str, Any]
    """The whole resolved config as plain values; for a run also its data, stage, trainer, ..."""
    checkpoint: Path | None
    """The folder that the weights came from; None for random weights."""


def load(
    path: str | Path,
    *,
    checkpoint: str | int = "last",
    device: str = "auto",
    overrides: Sequence[str] = (),
    runs: str | Path = "runs",
) -> Loaded:
    """Loads a model to evaluate or to ask.

    Args:
        path: A run (its directory, or its name below `runs`), one of its checkpoint folders, or a YAML file.
        checkpoint: Which of a run's checkpoints: "last", "best", or a step.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".
        overrides: Changes to the config, as on the command line: `video.max_frames=64`, `kv=streaming`.
        runs: The folder of runs.

    Raises:
        ConfigError: There is no such run, or an override does not fit.
        CheckpointError: The run has no such checkpoint, or its weights don't fit the model.
    """
    place = find(path, Path(runs))
    run = place.parent if place.is_file() else place
    folder = None
    if place.is_dir():
        from vxl.checkpoint.folder import choose, step_of

        if place.parent.name == "checkpoints":
            run, checkpoint = place.parent.parent, step_of(place)
        folder = choose(run, checkpoint)
    values = read_config(place if place.is_file() else run / "resolved.yaml", overrides)
    return assemble(values, run, folder, device)


def find(path: str | Path, runs: Path) -> Path:
    """The run directory, checkpoint folder or config file that a path or name means."""
    given = Path(path)
    if given.is_file() and given.suffix in (".yaml", ".yml"):
        return given
    if given.is_dir() and given.parent.name == "checkpoints" and (given / ".metadata").exists():
        return given
    from vxl.runs import find_run

    return find_run(str(path), runs).path


def read_config(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a resolved.yaml, changed by overrides.

    Raises:
        ConfigError: The file is not there or no YAML, or an override names nothing.
    """
    if not file.exists():
        raise ConfigError(
            f"{file} does not exist: the run failed before it began, or it is no run.\n"
            f"  expected: a directory that `python train.py` made, or a file that `dry_run=true` wrote"
        )
    try:
        values = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or "compressor" not in values:
        raise ConfigError(f"{file} is not a resolved config: it names no compressor, vision or llm.")
    for override in overrides:
        values = changed(values, override)
    return values


def model_parts(values: Mapping[str, Any]) -> "ModelParts":
    """The typed settings of a model's parts, out of a resolved config that may hold more.

    Raises:
        ConfigError: A key is unknown, missing or of the wrong type.
    """
    from vxl.config.schema import ModelParts

    load_plugins(values.get("plugins") or [])
    names = {field.name for field in dataclasses.fields(ModelParts)}
    return rebuild(ModelParts, {key: value for key, value in values.items() if key in names})


def assemble(values: dict[str, Any], run: Path, folder: Path | None, device: str) -> Loaded:
    """Builds the model that a resolved config describes, in evaluation mode.

    Args:
        values: The resolved config.
        run: Directory whose `tokenizer/` is used, if it has one.
        folder: Checkpoint folder with the weights; None builds what `weights` says.
        device: As in `load`.
    """
    from vxl.checkpoint.folder import read_weights
    from vxl.model import build_model

    config = model_parts(values)
    target = pick_device(device)
    tokenizer = load_tokenizer_of(values, run)
    model = build_model(config, device=target)
    if folder is not None:
        read_weights(folder, model)
    return Loaded(model.eval(), tokenizer, config, values, folder)


def pick_device(device: str) -> Any:
    """A torch device out of "auto", "cpu", "cuda", "cuda:1".

    Raises:
        ConfigError: There is no such device here.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device} is no device.\n  allowed: auto, cpu, cuda, cuda:N") from error
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ConfigError(
            f"device={device}, but there are {count} GPUs here.\n  type  device=cpu  or device=auto"
        )
    return found


def changed(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of a config with one change: `KEY=VALUE` (VALUE is YAML), or `GROUP=NAME` for a part.

    Raises:
        ConfigError: The key does not exist; the message lists the nearest.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} changes nothing.\n  form: KEY=VALUE or GROUP=NAME")
    file = CONF / key / f"{text}.yaml"
    if isinstance(values.get(key), dict):
        known = sorted(path.stem for path in (CONF / key).glob("*.yaml"))
        if not file.exists():
            close = nearest(text, known)
            hint = f"\n  did you mean {key}={close[0]}?" if close else ""
            raise ConfigError(f"there is no option {override}.{hint}\n  options of {key}: {', '.join(known)}")
        chosen = yaml.safe_load(file.read_text()) or {}
        return values | {key: {name: value for name, value in chosen.items() if name != "defaults"}}
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: the value is not YAML: {' '.join(str(error).split())}") from error
    return _set(values, key.split("."), value, override)


def _set(values: dict[str, Any], parts: list[str], value: Any, override: str) -> dict[str, Any]:
    head, rest = parts[0], parts[1:]
    if head not in values or (rest and not isinstance(values[head], dict)):
        close = nearest(head, values)
        hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
        keys = ", ".join(key for key in values if not key.startswith("_"))
        raise ConfigError(f"{override}: {head} is not a key there.{hint}\n  valid keys: {keys}")
    return values | {head: _set(values[head], rest, value, override) if rest else value}
