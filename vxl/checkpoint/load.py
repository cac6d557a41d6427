"""`vxl.load`: a trained (or random) model with tokenizer and config, from a run directory or a config file.

Needs torch, transformers and PyYAML; not Hydra, Lightning or W&B.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from vxl.checkpoint.fill import skeleton
from vxl.checkpoint.find import find, named_weights, weights_of
from vxl.checkpoint.load_weights import fill_from, load_weights
from vxl.checkpoint.read import read_weights
from vxl.checkpoint.resolved import model_parts, read_config, refuse_part
from vxl.checkpoint.source import is_vxl, is_weights
from vxl.checkpoint.tokenizer import tokenizer_of
from vxl.data.base import DataConfig
from vxl.data.batch.tokenizer import load_tokenizer, tokenizer_in
from vxl.errors import ConfigError
from vxl.generate import Context, saved
from vxl.generate.loaded import LoadedModel
from vxl.model import build_model
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.parts import ModelParts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load(
    path: str | Path,
    *,
    checkpoint: str | int = "last",
    device: str = "auto",
    overrides: Sequence[str] = (),
    runs: str | Path = "runs",
    dtype: torch.dtype | None = None,
) -> LoadedModel:
    """Loads a model to evaluate or to ask.

    Args:
        path: A run (its directory, or its name below `runs`), one of its checkpoint folders, a folder of
            weights (vxl's or a published one), or a resolved YAML file.
        checkpoint: Which of a run's checkpoints: "last", "best", or a step.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".
        overrides: Changes to the config, as on the command line: `video.max_frames=64`, `kv=streaming`.
        runs: The folder of runs.
        dtype: Precision of the weights; None for what suits the device.

    Raises:
        ConfigError: There is no such run, or an override does not fit.
        CheckpointError: The run has no such checkpoint, or its weights don't fit the model.
    """
    place = find(path, Path(runs))
    if place.is_file() and place.name == "resolved.yaml" and is_vxl(place.parent):
        place = place.parent
    if is_weights(place):
        return LoadedModel(*load_weights(place, pick_device(device), overrides, dtype), place)
    if place.is_file():
        return assemble(read_config(place, overrides), device, Path(runs), dtype=dtype)
    run, folder = weights_of(place, checkpoint)
    return assemble(read_config(run / "resolved.yaml", overrides), device, Path(runs), run, folder, dtype)


def load_context(path: str | Path, loaded: LoadedModel) -> Context:
    """Reads a context that `vxl.save_context` wrote; see `vxl.generate.saved.load_context`."""
    return replace(saved.load_context(path, loaded.model), most=loaded.most)


def assemble(
    values: dict[str, Any],
    device: str,
    runs: Path,
    run: Path | None = None,
    folder: Path | None = None,
    dtype: torch.dtype | None = None,
) -> LoadedModel:
    """Builds the model that a resolved config describes, in evaluation mode.

    Args:
        values: The resolved config.
        device: As in `load`.
        runs: The folder of runs, in which `weights` may name one.
        run: Directory of the run that the tokenizer comes from, if it has one.
        folder: Checkpoint folder with the weights; None takes those that the key `weights` names.
        dtype: Precision of the weights; None for what suits the device.

    Raises:
        ConfigError: The parts don't fit each other.
        CheckpointError: The weights are not there, or don't fit.
    """
    config = model_parts(values)
    if run is not None:
        refuse_part(values, run)
    if folder is None and config.weights != "random":
        run, folder = named_weights(config.weights, runs)
    target = pick_device(device)
    tokenizer = _tokenizer(values, config, run)
    dtype = dtype or _precision(values, target)
    if folder is not None and is_weights(folder):
        model = skeleton(config, vocab_size=len(tokenizer))
        fill_from(folder, model, device=target, dtype=dtype or torch.get_default_dtype())
        return LoadedModel(model.eval(), tokenizer, config, values, folder)
    # A checkpoint holds every tensor, so there is nothing to fetch from elsewhere first.
    model = build_model(
        config, vocab_size=len(tokenizer), device=target, dtype=dtype, pretrained=folder is None
    )
    if folder is not None:
        read_weights(folder, model)
    return LoadedModel(model.eval(), tokenizer, config, values, folder)


def pick_device(device: str) -> torch.device:
    """A torch device out of "auto", "cpu", "cuda", "cuda:1".

    Raises:
        ConfigError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device} is no device.\n  allowed: auto, cpu, cuda, cuda:N") from error
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ConfigError(f"device={device}, but there are {count} GPUs here.\n  type  device=auto")
    return found


def _precision(values: dict[str, Any], device: torch.device) -> torch.dtype | None:
    """The parameters' type: on a GPU that of the training's arithmetic, on a CPU torch's default."""
    trained = str((values.get("trainer") or {}).get("precision", ""))
    return torch.bfloat16 if device.type == "cuda" and trained.startswith("bf16") else None


def _tokenizer(values: dict[str, Any], config: ModelParts, run: Path | None) -> "PreTrainedTokenizerFast":
    """The run's own tokenizer; without a run the one that its data and language model name."""
    own = None if run is None else tokenizer_in(run)
    if own is not None:
        return load_tokenizer(own)
    if config.prompt.tokenizer is None and "data" not in values:
        raise ConfigError("the config names no data, and so no tokenizer.\n  e.g.  prompt.tokenizer=FOLDER")
    paths = SimpleNamespace(**({"cache": ".cache/vxl", "runs": "runs"} | (values.get("paths") or {})))
    start = values.get("init_from")
    names = SimpleNamespace(
        prompt=config.prompt, llm=config.llm, paths=paths, init_from=start, weights=config.weights
    )
    return tokenizer_of(names, _texts(values, Path(paths.cache)))


def _texts(values: dict[str, Any], cache: Path) -> Any:
    """The data whose texts a small tokenizer is trained from, prepared only if they are wanted."""

    def texts() -> Iterator[str]:
        data = build(rebuild(DataConfig, values["data"], "data"), cache=cache)
        data.prepare()
        return data.texts()

    return SimpleNamespace(texts=texts)
