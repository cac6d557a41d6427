"""What a new training says first: what is random and what is pretrained, on which data, and the memory."""

from collections.abc import Collection

import torch
from rich.console import Console

from vxl.memory import GIB, free_memory, refuse_without_memory
from vxl.terminal.screen import prose
from vxl.train.config import TrainConfig
from vxl.train.sizes import training_sizes
from vxl.train.step.stage import PARTS


def open_training(config: TrainConfig, device: torch.device, console: Console) -> None:
    """Prints it, and refuses what does not fit into memory before anything is built.

    Args:
        config: A checked config.
        device: Of the first process.
        console: Where to print.

    Raises:
        ConfigError: Weights, gradients and optimizer alone are more than the memory that is free.
    """
    sizes = training_sizes(config)
    on_cpu = device.type == "cpu"
    needed = sizes.bytes_a_process * (config.trainer.devices if on_cpu else 1)
    free = free_memory(device)
    there = "" if free is None else f", {free / GIB:.1f} GiB free on {device}"
    prose(console, f"weights: {weights_line(config, sizes.parameters)}")
    prose(console, f"data: {data_line(config)}")
    prose(
        console,
        f"memory: {needed / GIB:.2f} GiB for weights, gradients and optimizer, activations on top{there}",
    )
    if getattr(config.strategy, "offload", False) and not on_cpu:
        return
    refuse_without_memory(
        needed,
        device,
        f"model={config.model} does not fit: {sizes.trained:,} of {sizes.total:,} parameters trained in "
        f"{config.trainer.precision}",
        "  less of it:    stage=lora trainer.frozen=nf4   or  stage=align\n"
        "  spread:        strategy=fsdp2 trainer.devices=N\n"
        "  in miniature:  size=tiny\n"
        "  look first:    dry_run=true",
    )


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
    named = {"vision": config.vision.weights, "llm": config.llm.weights}
    words = {part: "language model" if part == "llm" else part for part in PARTS if part in parts}
    pretrained = [
        f"{words[part]} {name}" for part, name in named.items() if part in words and name != "random"
    ]
    fresh = [word for part, word in words.items() if named.get(part, "random") == "random"]
    kinds = {"pretrained": pretrained, "random": fresh}
    return " · ".join(f"{kind}: {', '.join(those)}" for kind, those in kinds.items() if those)


def data_line(config: TrainConfig) -> str:
    """Which data is trained on, by its option and what it names."""
    option = config.data._target_.rpartition(".")[2].lower()
    if option == "clips":
        return "data=clips, the toy clips that come with vxl"
    named = getattr(config.data, "json", None) or getattr(config.data, "train", None)
    sources = getattr(config.data, "sources", None)
    names = named if isinstance(named, str) else ", ".join(named or sources or [])
    return f"data={option} {names}".strip()
