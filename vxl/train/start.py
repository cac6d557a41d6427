"""The model that a run starts with: made whole, or outlined and filled when every rank has its part of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vxl.checkpoint.source import find_weights
from vxl.llm.lora import is_update
from vxl.train.config import TrainConfig
from vxl.train.launch.processes import Processes
from vxl.train.parallel.sharding import Fill, scatter
from vxl.train.step.learner import build_learner
from vxl.train.warm import warm_start


@dataclass(frozen=True)
class Start:
    """A model and how it gets its weights."""

    model: nn.Module
    fill: Fill | None = None
    """Gives an outlined model its weights when it is sharded; None: it has them, or a checkpoint will."""


def build_start(config: TrainConfig, vocab: int, checkpoint: Path | None, processes: Processes) -> Start:
    """Makes the model.

    Args:
        config: A checked config.
        vocab: Tokens of the tokenizer, all of which the model must have.
        checkpoint: What a resumed run goes on from; it is loaded later.
        processes: Of a sharded model only the first one ever holds a whole copy, in the memory of the CPU,
            and not even that where the weights lie in safetensors.
    """
    fresh = checkpoint is None
    if config.strategy.is_whole:
        return Start(whole_model(config, vocab, fresh))

    outlined = build_learner(config, vocab_size=vocab, device="meta", pretrained=False)
    if not fresh:
        return Start(outlined)
    updates = any(is_update(name) for name, _ in outlined.named_parameters())  # which no file has
    whole = config.stage.objective == "language" and not updates
    if config.weights != "random" and config.init_from is None and whole:
        return Start(outlined, lambda model: fill_from_disk(config, model))

    def fill(model: nn.Module) -> None:
        values: dict[str, Tensor] | None = None
        if processes.first:
            values = whole_model(config, vocab, fresh).state_dict()
        scatter(values, model)

    return Start(outlined, fill)


def whole_model(config: TrainConfig, vocab: int, fresh: bool) -> nn.Module:
    """The model in this process's memory, with the weights that a new run starts from.

    Args:
        config: A checked config.
        vocab: Tokens of the tokenizer.
        fresh: Whether the run is new; a checkpoint fills a resumed one later.
    """
    # Lightning's default precision may be another one here, in which the same seed draws other weights.
    pretrained = fresh and config.weights == "random"
    model = build_learner(config, vocab_size=vocab, dtype=torch.float32, pretrained=pretrained)
    starts = [config.init_from] if fresh and config.init_from is not None else []
    if fresh and config.weights != "random":
        if config.stage.objective == "language":
            fill_from_disk(config, model)
        else:  # of the whole model's weights, those that are here
            starts.insert(0, config.weights)
    for source in starts:
        warm_start(source, model, Path(config.paths.runs))
    return model


def fill_from_disk(config: TrainConfig, model: nn.Module) -> None:
    """Fills a model from `weights=FOLDER`; of a sharded one, each rank reads its own part."""
    find_weights(config.weights, Path(config.paths.runs)).fill(model)
