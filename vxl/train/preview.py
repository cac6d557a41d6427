"""`dry_run=true`: what a command would run, without running it."""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from vxl.compressor.base import plan
from vxl.memory import GIB
from vxl.option.rebuild import plain
from vxl.run.directory import write_resolved
from vxl.run.name import run_name
from vxl.selector.query import QueryConfig
from vxl.terminal.screen import Screen
from vxl.train.config import TrainConfig
from vxl.train.report.opening import data_line, weights_line
from vxl.train.sizes import training_sizes


def stage_line(config: TrainConfig) -> str:
    """Which parts learn, and at which peak learning rates."""
    rates = {part: getattr(config.stage.part_lr, part) or config.optim.lr for part in config.stage.train}
    if len(set(rates.values())) == 1:
        return f"{', '.join(rates)} learn, learning rate {config.optim.lr:g} ({config.optim.schedule})"
    each = ", ".join(f"{part} {rate:g}" for part, rate in rates.items())
    return f"learning rates {each} ({config.optim.schedule})"


def kept_line(config: TrainConfig, visual: int) -> str:
    """How many of a video's visual tokens reach the language model, where a selector drops some."""
    selector = config.selector
    if not isinstance(selector, QueryConfig):
        return ""
    kept = visual if selector.keep is None else round(selector.keep * visual)
    kept = kept if selector.tokens is None else min(kept, selector.tokens)
    return f", of which the selector keeps {'at most ' if selector.keep is None else 'about '}{kept}"


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
    sizes = training_sizes(config)
    parts, learning, trained, total = sizes.parameters, sizes.learning, sizes.trained, sizes.total
    shape = plan(config.compressor, config.vision.grid)
    frames = config.video.max_frames
    visual = shape.tokens(frames)

    table = Table(title=f"would run {name}", title_justify="left", show_header=False)
    for part, count in parts.items():
        part_of_it = f" ({learning[part]:,} learn)" if learning[part] else " (frozen)"
        table.add_row(part, f"{count:,} parameters{'' if learning[part] == count else part_of_it}")
    table.add_row("trained", f"{trained:,} of {total:,}")
    table.add_row(
        "video",
        f"{frames} frames -> {visual} visual tokens (ratio {shape.ratio}, "
        f"{shape.tokens_per_group} a group of {shape.frames_per_group}){kept_line(config, visual)}",
    )
    rows = config.data.batch * config.trainer.accumulate * config.trainer.devices * config.trainer.num_nodes
    table.add_row(
        "global batch",
        f"{rows} rows of at most {config.data.max_tokens} tokens, {config.trainer.max_steps} steps",
    )
    table.add_row(
        "samples", f"{rows * config.trainer.max_steps:,} in all{', at least' * config.data.packing}"
    )
    table.add_row("stage", stage_line(config))
    table.add_row("weights", escape(weights_line(config)))
    table.add_row("data", escape(data_line(config)))
    spread = (
        f" ({sizes.total_bytes / GIB:.2f} GiB in all)" if sizes.bytes_a_process < sizes.total_bytes else ""
    )
    table.add_row(
        "memory",
        f"{sizes.bytes_a_process / GIB:.2f} GiB a process{spread} for weights, gradients and optimizer; "
        "activations come on top",
    )
    table.add_row("directory", str(directory))
    Screen().print(table)
    write_resolved(directory, plain(config))
    return {
        "name": name,
        "directory": str(directory),
        "parameters": parts,
        "visual_tokens": visual,
        "bytes": sizes.total_bytes,
    }
