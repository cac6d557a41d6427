"""What a new training says first: what is random and what is pretrained, on which data, and the memory."""

from collections.abc import Collection

import torch
from rich.console import Console

from vxl.llm.packed import PACKINGS
from vxl.llm.packed import library as packing_library
from vxl.memory import free_memory, refuse_without_memory
from vxl.terminal.screen import prose
from vxl.train.config import TrainConfig
from vxl.train.recomputing import Recomputing, decide
from vxl.train.sizes import is_offloaded, training_sizes
from vxl.train.sources import refuse_missing_start
from vxl.train.step.adamw_8bit import AdamW8bitConfig, library
from vxl.train.step.stage import PARTS
from vxl.units import human_size
from vxl.video.decode import open_video
from vxl.weights.fp8 import refuse_without_fp8


def refuse_absent(config: TrainConfig, device: torch.device) -> None:
    """Refuses a training that lacks something here, before it has a directory.

    Raises:
        ConfigError: The device does not multiply in float8, in which the tower is to run; or frames are to be
            decoded on a card or by a package that is not there; or a library is not installed.
        VxlError: The weights that a new run is to start from are not there.
    """
    refuse_missing_start(config)
    if isinstance(config.optim.optimizer, AdamW8bitConfig):
        library("torchao.optim")
    if config.trainer.frozen in PACKINGS:
        packing_library()
    refuse_without_fp8(config.vision.fp8, "vision.fp8", device)
    open_video(b"", decoder=config.video.decoder, device=config.video.device)


def open_training(
    config: TrainConfig, device: torch.device, room: int | None, console: Console, resumed: bool
) -> Recomputing | None:
    """Prints it, and refuses what does not fit into memory before anything is built.

    Args:
        config: A checked config.
        device: Of the first process.
        room: Bytes that are free for each process; None where that is not known.
        console: Where to print.
        resumed: Whether a checkpoint fills the model, whatever weights the run began with.

    Returns:
        What `llm.recomputed=auto` comes to; None where it is given.

    Raises:
        ConfigError: Weights, gradients and optimizer alone are more than the memory that is free.
    """
    sizes = training_sizes(config)
    on_cpu = device.type == "cpu"
    least = sizes.bytes_a_process * (config.trainer.devices if on_cpu else 1)
    free = free_memory(device)
    there = "" if free is None else f", {human_size(free)} free on {device}"
    if not resumed:
        prose(console, f"weights: {weights_line(config, sizes.parameters)}")
    prose(console, f"data: {data_line(config)}")
    prose(
        console,
        f"memory: {human_size(least)} for weights, gradients and optimizer, activations on top{there}",
    )
    recomputing = decide(config, room)
    if recomputing is not None:
        prose(console, f"memory: {recomputing}")
    if is_offloaded(config) and not on_cpu:
        return recomputing
    refuse_without_memory(
        least,
        device,
        f"model={config.model} does not fit: {sizes.trained:,} of {sizes.total:,} parameters trained in "
        f"{config.trainer.precision}",
        "  less of it:    stage=lora trainer.frozen=nf4   or  stage=align\n"
        "  spread:        strategy=fsdp2 trainer.devices=N\n"
        "  in miniature:  size=tiny\n"
        "  look first:    dry_run=true",
    )
    return recomputing


def weights_line(config: TrainConfig, parts: Collection[str]) -> str:
    """Which parts start from which weights.

    Args:
        config: A checked config.
        parts: Those that have parameters.
    """
    if config.init_from is not None:
        return f"init_from={config.init_from}, random where it has none"
    if config.weights != "random":
        return f"weights={config.weights}"
    choices = {"vision": config.vision.weights, "llm": config.llm.weights}
    words = {part: "language model" if part == "llm" else part for part in PARTS if part in parts}
    pretrained = [
        f"{words[part]} {name}" for part, name in choices.items() if part in words and name != "random"
    ]
    fresh = [word for part, word in words.items() if choices.get(part, "random") == "random"]
    kinds = {"pretrained": pretrained, "random": fresh}
    return " · ".join(f"{kind}: {', '.join(those)}" for kind, those in kinds.items() if those)


def data_line(config: TrainConfig) -> str:
    """Which data is trained on, by its option and what it names."""
    option = config.data._target_.rpartition(".")[2].lower()
    if option == "clips":
        return "data=clips, the toy clips that come with vxl"
    return f"data={option} {', '.join(config.data.named)}".strip()
