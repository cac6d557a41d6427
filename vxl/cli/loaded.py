"""The model that the words of a command name: a run's, a folder's, or one made of choices as in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.checkpoint.layouts import is_published, is_vxl
from vxl.checkpoint.source import Source, find_source
from vxl.cli.words import Words
from vxl.config.compose import compose
from vxl.config.origins import refuse_untyped_random
from vxl.errors import ConfigError
from vxl.imported import imported_for_good
from vxl.option.rebuild import plain

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.generate.loaded import LoadedModel


def loaded_by(words: Words, root: Path, settings: Sequence[str]) -> "LoadedModel":
    """The model, and with it all words that are left.

    Args:
        words: `run=`, `weights=` or `model=`, and changes of the config.
        root: The folder of runs.
        settings: The command's own, for what a mistyped key may have meant.

    Raises:
        ConfigError: A word names nothing.
        CheckpointError: There are no such weights.
    """
    with imported_for_good():
        from vxl.checkpoint.load import assemble, load_source  # late: torch takes 2 s, and --help needs none

    run, device = words.take("run"), words.take("device") or "auto"
    folder = Path(words.settings.get("weights", "random")).expanduser()
    if run is None and not (is_vxl(folder) or is_published(folder)):
        if words.take("checkpoint") is not None:
            raise ConfigError("checkpoint= chooses among a run's checkpoints; name the run:  run=NAME")
        return assemble(_composed(words, root), device, root)
    source = find_source(run or folder, root, words.take("checkpoint") or "last")
    if source.is_folder_of_weights:
        return _from_folder(words, source, device)
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    return load_source(source, device, overrides, root, also=settings)


def _from_folder(words: Words, source: Source, device: str) -> "LoadedModel":
    """The model of a folder of weights, which knows its own parts; settings change them.

    Raises:
        ConfigError: `model=` names another one.
    """
    from vxl.checkpoint.load import load_source  # late: torch takes 2 s, and --help needs none of it

    words.take("weights")
    model, size = words.take("model"), words.take("size", "published")
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    holds = source.values(overrides)["model"] if model else None
    if size != "published":
        raise ConfigError(
            f"size= makes a new model, but {source.path} holds one.\n  leave out size= or weights="
        )
    if model != holds:
        raise ConfigError(
            f"{source.path} holds {holds}, not {model}.\n  type  model={holds}  or leave it out"
        )
    return load_source(source, device, overrides)


def _composed(words: Words, root: Path) -> dict[str, Any]:
    """The resolved config of choices as on the command line of training."""
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    config = compose("train", [*overrides, f"paths.runs={root}"])
    refuse_untyped_random(config, overrides)
    return plain(config)
