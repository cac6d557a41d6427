"""`vxl.load`: a trained (or random) model with tokenizer and config, from a run directory or a config file.

Needs torch, transformers and PyYAML; not Hydra, Lightning or W&B.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vxl.checkpoint.fill import fill, skeleton
from vxl.checkpoint.resolved import model_parts, refuse_part
from vxl.checkpoint.source import Source, find_source, find_weights
from vxl.checkpoint.tokenizer import tokenizer_of
from vxl.data.base import DataConfig
from vxl.data.batch.tokenizer import load_tokenizer, tokenizer_in
from vxl.errors import ConfigError
from vxl.generate import Context, saved
from vxl.generate.loaded import LoadedModel
from vxl.model import VideoLanguageModel, build_model
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.parts import ModelParts, in_fp8, refuse_fp8, refuse_too_large
from vxl.run.config import PathsConfig

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast

# What says how a run was trained, not how it watches and answers.
_OF_A_RUN = {
    "model",
    "size",
    "weights",
    "name",
    "stage",
    "optim",
    "strategy",
    "cluster",
    "checkpoint",
    "logger",
}
_OF_A_RUN |= {"recipe", "on_existing", "dry_run", "sweep_name", "sweep_member"}


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
    if not isinstance(path, str | Path):
        raise ConfigError(
            f"load({path!r}) names nothing.\n  expected: a run, a folder of weights, or a resolved.yaml"
        )
    if isinstance(overrides, str):  # a single one; a text is a sequence of letters, too
        overrides = [overrides]
    return load_source(find_source(path, Path(runs), checkpoint), device, overrides, Path(runs), dtype)


def load_source(
    source: Source,
    device: str = "auto",
    overrides: Sequence[str] = (),
    runs: Path = Path("runs"),
    dtype: torch.dtype | None = None,
    also: Sequence[str] = (),
) -> LoadedModel:
    """Loads what `find_source` found; see `load`.

    Args:
        source: Where the model comes from.
        device: "auto", "cpu", "cuda", "cuda:1".
        overrides: Changes to the config.
        runs: The folder of runs, in which a config's `weights` may name one.
        dtype: Precision of the weights; None for what suits the device.
        also: Other words that a mistyped override may have meant, for the message.
    """
    if source.is_folder_of_weights:
        return _without_run(source, pick_device(device), overrides, dtype)
    values = source.values(overrides, also)
    if source.kind == "run":
        _refuse_idle(overrides, source.path)
    _refuse_to_fetch(values, source)
    return assemble(values, device, runs, source if source.kind == "run" else None, dtype)


def _refuse_idle(overrides: Sequence[str], run: Path) -> None:
    """Raises for changes that a trained run has no use for: they would be ignored without a word."""
    for override in overrides:
        key = override.partition("=")[0]
        group = key.partition(".")[0]
        if group in _OF_A_RUN or (group == "trainer" and key not in ("trainer.precision", "trainer.threads")):
            reason = "which holds its own" if group in ("model", "size", "weights") else "which is trained"
            raise ConfigError(
                f"{override} has no effect on {run}, {reason}.\n"
                "  may be changed: parts and what they look at, e.g.  video.max_frames=64   kv=streaming"
            )


def _without_run(
    source: Source, device: torch.device, overrides: Sequence[str], dtype: torch.dtype | None
) -> LoadedModel:
    """The model of a folder of weights, which knows its own parts."""
    weights = source.weights(overrides)
    config = model_parts(weights.values)
    words = config.prompt.tokenizer or weights.tokenizer
    tokenizer = None if words is None else load_tokenizer(words)
    # On a GPU the file's precision; on a CPU float32, in which it computes.
    dtype = dtype or (torch.float32 if device.type == "cpu" else weights.dtype)
    refuse_fp8(config, device, dtype)
    place = _filled_on(config, device)
    model = skeleton(config, vocab_size=None if tokenizer is None else len(tokenizer))
    fill(model, weights, place, dtype)
    return LoadedModel(_ready(model, device), tokenizer, config, weights.values, source.path)


def _filled_on(config: ModelParts, device: torch.device) -> torch.device:
    """Where a model gets its weights: of what is to run in float8 whole weights need not fit into the GPU."""
    return torch.device("cpu") if in_fp8(config) else device


def _ready(model: VideoLanguageModel, device: torch.device) -> VideoLanguageModel:
    """The model with its weights, in the precision of its parts, on its device, in evaluation mode."""
    model.to_fp8()
    return model.to(device).eval()


def _refuse_to_fetch(values: dict[str, Any], source: Source) -> None:
    """Raises where a tokenizer would be trained from data that a config from elsewhere names by URL."""
    config = model_parts(values)
    if config.prompt.tokenizer or config.llm.weights != "random" or tokenizer_in(source.path) is not None:
        return
    urls = [text for text in _texts_in(values.get("data")) if "://" in text or text.startswith("pipe:")]
    if urls:
        raise ConfigError(
            f"{source.path} has no tokenizer, and its config names data elsewhere: {urls[0]}\n"
            "  nothing is fetched because a file says so; type  prompt.tokenizer=FOLDER"
        )


def _texts_in(values: Any) -> list[str]:
    """Every text in nested values."""
    if isinstance(values, str):
        return [values]
    inner = list(values.values()) if isinstance(values, dict) else values if isinstance(values, list) else []
    return [text for value in inner for text in _texts_in(value)]


def load_context(path: str | Path, loaded: LoadedModel) -> Context:
    """Reads a context that `vxl.save_context` wrote; see `vxl.generate.saved.read_context`."""
    return replace(saved.read_context(path, loaded.model), most=loaded.most)


def assemble(
    values: dict[str, Any],
    device: str,
    runs: Path,
    source: Source | None = None,
    dtype: torch.dtype | None = None,
) -> LoadedModel:
    """Builds the model that a resolved config describes, in evaluation mode.

    Args:
        values: The resolved config.
        device: As in `load`.
        runs: The folder of runs, in which `weights` may name one.
        source: Where the weights come from, and the tokenizer if it has one; None takes those that the key
            `weights` names.
        dtype: Precision of the weights; None for what suits the device.

    Raises:
        ConfigError: The parts don't fit each other.
        CheckpointError: The weights are not there, or don't fit.
    """
    config = model_parts(values)
    if source is not None:
        refuse_part(values, source.path)
    elif config.weights != "random":
        source = find_weights(config.weights, runs)
    target = pick_device(device)
    tokenizer = _tokenizer(values, config, None if source is None else source.path)
    dtype = dtype or _precision(values, target)
    refuse_fp8(config, target, dtype)
    place = _filled_on(config, target)
    if source is not None and source.is_folder_of_weights:
        refuse_too_large(config, place, dtype)
        model = skeleton(config, vocab_size=len(tokenizer))
        source.fill(model, device=place, dtype=dtype or torch.get_default_dtype())
        return LoadedModel(_ready(model, target), tokenizer, config, values, source.folder)
    # A checkpoint holds every tensor, so there is nothing to fetch from elsewhere first.
    model = build_model(
        config, vocab_size=len(tokenizer), device=place, dtype=dtype, pretrained=source is None
    )
    if source is not None:
        source.fill(model)
    folder = None if source is None else source.folder
    return LoadedModel(_ready(model, target), tokenizer, config, values, folder)


def pick_device(device: str) -> torch.device:
    """A torch device out of "auto", "cpu", "cuda", "cuda:1".

    Raises:
        ConfigError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen_device = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device} is no device.\n  allowed: auto, cpu, cuda, cuda:N") from error
    count = torch.cuda.device_count()
    if chosen_device.type == "cuda" and (chosen_device.index or 0) >= count:
        raise ConfigError(f"device={device}, but there are {count} GPUs here.\n  type  device=auto")
    return chosen_device


def _precision(values: dict[str, Any], device: torch.device) -> torch.dtype | None:
    """The parameters' type: on a GPU that of the training's arithmetic, on a CPU torch's default."""
    precision = str((values.get("trainer") or {}).get("precision", ""))
    return torch.bfloat16 if device.type == "cuda" and precision.startswith("bf16") else None


def _tokenizer(values: dict[str, Any], config: ModelParts, run: Path | None) -> "PreTrainedTokenizerFast":
    """The run's own tokenizer; without a run the one that its data and language model name."""
    own = None if run is None else tokenizer_in(run)
    if own is not None:
        return load_tokenizer(own)
    if config.prompt.tokenizer is None and "data" not in values:
        raise ConfigError("the config names no data, and so no tokenizer.\n  e.g.  prompt.tokenizer=FOLDER")
    field_names = {field.name for field in dataclasses.fields(PathsConfig)}
    paths = PathsConfig(
        **{key: value for key, value in (values.get("paths") or {}).items() if key in field_names}
    )
    starts = (values.get("init_from"), config.weights)
    return tokenizer_of(config.prompt, config.llm, starts, paths, partial(_texts, values, Path(paths.cache)))


def _texts(values: dict[str, Any], cache: Path) -> Iterator[str]:
    """The data's texts, of which a small tokenizer is trained; the data is prepared for them."""
    data = build(rebuild(DataConfig, values["data"], "data"), cache=cache)
    data.prepare()
    return iter(data.texts())
