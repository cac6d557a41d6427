"""`dry_run=true`: what a command would run, without running it."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vxl.compressor.base import plan
from vxl.option.rebuild import plain
from vxl.run.directory import write_resolved
from vxl.run.name import run_name
from vxl.train.config import TrainConfig
from vxl.train.step.learner import build_learner
from vxl.train.step.stage import freeze, part_of

GIB = 2**30
# Bytes of a trained parameter with its gradient and AdamW's two moments, each in the parameter's precision.
TRAINED_BYTES = {"32-true": 16, "bf16-mixed": 16, "bf16-true": 8, "64-true": 32}
FROZEN_BYTES = {"32-true": 4, "bf16-mixed": 4, "bf16-true": 2, "64-true": 8}


def preview(config: TrainConfig) -> dict[str, Any]:
    """Prints one screen about a training and writes `resolved.yaml` where the run would be.

    The model is built on the meta device, so a true-size model previews on a laptop.

    Args:
        config: A checked config.

    Returns:
        What was printed: name, directory, parameters by part, tokens of a video, memory in bytes.
    """
    name = run_name(config)
    directory = Path(config.paths.runs) / name
    model = build_learner(config, device="meta")
    freeze(model, config.stage)
    parts: dict[str, int] = {}
    learning: dict[str, int] = {}
    for key, parameter in model.named_parameters():
        part = part_of(key)
        parts[part] = parts.get(part, 0) + parameter.numel()
        learning[part] = learning.get(part, 0) + parameter.numel() * parameter.requires_grad
    trained = sum(learning.values())
    shape = plan(config.compressor, config.vision.grid)
    frames = config.video.max_frames
    visual = shape.tokens(frames)
    total = sum(parts.values())
    precision = config.trainer.precision
    memory = trained * TRAINED_BYTES[precision] + (total - trained) * FROZEN_BYTES[precision]

    table = Table(title=f"would run {name}", title_justify="left", show_header=False)
    for part, count in parts.items():
        part_of_it = f" ({learning[part]:,} learn)" if learning[part] else " (frozen)"
        table.add_row(part, f"{count:,} parameters{'' if learning[part] == count else part_of_it}")
    table.add_row("trained", f"{trained:,} of {total:,}")
    table.add_row(
        "video",
        f"{frames} frames -> {visual} visual tokens (ratio {shape.ratio}, "
        f"{shape.tokens_per_group} a group of {shape.frames_per_group})",
    )
    rows = config.data.batch * config.trainer.accumulate * config.trainer.devices * config.trainer.num_nodes
    table.add_row(
        "global batch",
        f"{rows} rows of at most {config.data.max_tokens} tokens, {config.trainer.max_steps} steps",
    )
    table.add_row(
        "memory", f"{memory / GIB:.2f} GiB for weights, gradients and optimizer; activations come on top"
    )
    table.add_row("directory", str(directory))
    Console().print(table)
    write_resolved(directory, plain(config))
    return {
        "name": name,
        "directory": str(directory),
        "parameters": parts,
        "visual_tokens": visual,
        "bytes": memory,
    }
