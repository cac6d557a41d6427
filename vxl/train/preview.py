"""`dry_run=true`: what a command would run, without running it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from vxl.compressor.base import plan
from vxl.data.base import Data
from vxl.errors import VxlError
from vxl.memory import free_memory
from vxl.option.build import build
from vxl.option.rebuild import plain
from vxl.run.directory import write_resolved
from vxl.run.name import run_name
from vxl.selector.query import QueryConfig
from vxl.table import Listing, facts
from vxl.terminal.say import complain
from vxl.terminal.screen import Screen, prose
from vxl.train.config import TrainConfig
from vxl.train.recomputing import Recomputing, decide, free_for_a_process
from vxl.train.report.opening import data_line, weights_line
from vxl.train.sizes import TrainingSizes, activation_bytes, is_offloaded, training_sizes
from vxl.train.trainer import device_of
from vxl.units import human_size, rounded

SHARED = ("model", "samples", "stage", "weights", "data", "blocks")
"""What members of a sweep mostly share, and so is said once; and where it differs, of which members."""


@dataclass(frozen=True)
class Outlook:
    """What a training would take, as far as it can be said without building anything."""

    config: TrainConfig
    sizes: TrainingSizes
    activations: int
    """Bytes that a micro-batch keeps for the backward pass, by `vxl.train.sizes.activation_bytes`."""
    visual: int
    """Visual tokens of a video of the most frames."""
    samples: int | None
    """Samples to train on, where they can be counted without writing an index."""
    free: int | None
    """Bytes that are free on the device of this machine that would train."""
    device: str
    recomputing: Recomputing | None = None
    """What `llm.recomputed=auto` comes to here."""

    @classmethod
    def of(cls, config: TrainConfig) -> "Outlook":
        """Counts; the model's parts are outlined on the meta device, so a laptop can say it of any size."""
        try:
            device = device_of(config.trainer)
        except VxlError:  # another machine's
            free, name, room = None, config.trainer.accelerator, None
        else:
            free, name, room = free_memory(device), device.type, free_for_a_process(config, device)
        recomputing = decide(config, room)
        config = config if recomputing is None else recomputing.settle(config)
        visual = plan(config.compressor, config.vision.grid).tokens(config.video.max_frames)
        data: Data = build(config.data, cache=Path(config.paths.cache))
        sizes = training_sizes(config)
        activations = activation_bytes(config)
        return cls(config, sizes, activations, visual, data.count(), free, name, recomputing)

    @property
    def rows(self) -> int:
        """Rows of a step, over all processes."""
        trainer = self.config.trainer
        ranks = trainer.devices * trainer.num_nodes // self.config.strategy.context
        return self.config.data.batch * trainer.accumulate * ranks

    @property
    def needed(self) -> int:
        """Bytes that the device needs; on a CPU all processes share its memory."""
        if self.device == "cpu":
            return (self.sizes.bytes_a_process + self.activations) * self.config.trainer.devices
        return self.activations + (0 if is_offloaded(self.config) else self.sizes.bytes_a_process)

    @property
    def fits(self) -> str:
        """Whether it fits here."""
        if self.free is None:
            return "not known here"
        return "yes" if self.needed <= self.free else "no"


def preview(config: TrainConfig) -> dict[str, Any]:
    """Prints one screen about a training and writes `resolved.yaml` where the run would be.

    Args:
        config: A checked config.

    Returns:
        What was printed: name, directory, parameters by part, tokens of a video, memory in bytes.
    """
    name = run_name(config)
    directory = Path(config.paths.runs) / name
    outlook = Outlook.of(config)
    rows = [*_rows(outlook), ("directory", str(directory))]
    Screen().print(facts(escape(f"would run {name}"), [(what, escape(text)) for what, text in rows]))
    write_resolved(directory, plain(config))
    return {
        "name": name,
        "directory": str(directory),
        "parameters": outlook.sizes.parameters,
        "visual_tokens": outlook.visual,
        "bytes": outlook.sizes.total_bytes,
        "activation_bytes": outlook.activations,
    }


def preview_members(sweep: str, members: Sequence[tuple[str, TrainConfig | VxlError]]) -> int:
    """Prints a row a member of a sweep, below what all of them share; writes nothing.

    Args:
        sweep: Its name.
        members: The name of each, and its checked config or what is wrong with it.

    Returns:
        The exit status: 1 where a member could not run.
    """
    console = Screen()
    last: Outlook | None = None
    numbers: dict[str, dict[str, str]] = {}
    lines: dict[str, dict[str, list[str]]] = {}
    wrong = []
    for name, config in members:
        if isinstance(config, VxlError):
            wrong.append((name, config))
            continue
        try:
            last = outlook = Outlook.of(config)
        except VxlError as error:  # its data is not there
            wrong.append((name, error))
            continue
        for what, text in _rows(outlook):
            if what in SHARED:
                lines.setdefault(what, {}).setdefault(text, []).append(name)
        numbers[name] = {
            "tokens": f"{outlook.visual:,}",
            "of a row": f"{config.data.max_tokens:,}",
            "trained": f"{outlook.sizes.trained:,}",
            "memory": human_size(outlook.sizes.bytes_a_process),
            "activations": human_size(outlook.activations) if outlook.activations else "-",
            "fits": outlook.fits,
        }
    common = _common(list(numbers.values())) if len(members) > 1 else {}
    columns = [what for what in next(iter(numbers.values()), {}) if what not in common]
    table = Listing(f"would run {sweep}", ("member", *columns, *([""] if wrong else [])), words=("fits", ""))
    errors = dict(wrong)
    for name, _ in members:
        cells = numbers.get(name, {})
        remark = ["refused" if name in errors else ""] if wrong else []
        table.add(escape(name), *(cells.get(what, "-") for what in columns), *remark)
    table.show(console)
    if last is not None:
        if common:
            prose(console, "each: " + ", ".join(f"{what} {text}" for what, text in common.items()))
        for what, each in lines.items():
            for text, names in each.items():
                of = f" of {', '.join(names)}" if len(each) > 1 else ""
                prose(console, f"{what}{of}: {text}")
        there = "" if last.free is None else f"; {human_size(last.free)} are free on {last.device}"
        prose(console, f"memory and activations are a process's{there}")
    for name, error in wrong:
        complain(f"\nmember {name} is refused: {error}")
    return 1 if wrong else 0


def _common(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """What is the same in all rows, but for what decides: whether they fit."""
    first = rows[0] if rows else {}
    return {
        what: text
        for what, text in first.items()
        if what != "fits" and all(row[what] == text for row in rows)
    }


def _rows(outlook: Outlook) -> list[tuple[str, str]]:
    """What is said of a training: (what, its value)."""
    config, sizes, visual = outlook.config, outlook.sizes, outlook.visual
    rows = []
    for part, count in sizes.parameters.items():
        learns = sizes.learning[part]
        of_it = f" ({learns:,} learn)" if learns else " (frozen)"
        rows.append((part, f"{count:,} parameters{'' if learns == count else of_it}"))
    shape = plan(config.compressor, config.vision.grid)
    spread = f" ({human_size(sizes.total_bytes)} in all)" if sizes.bytes_a_process < sizes.total_bytes else ""
    there = "" if outlook.free is None else f", {human_size(outlook.free)} free on {outlook.device}"
    return [
        ("model", how_line(config)),
        *rows,
        ("trained", f"{sizes.trained:,} of {sizes.total:,}"),
        (
            "video",
            f"{config.video.max_frames} frames -> {visual} visual tokens (ratio {shape.ratio}, "
            f"{shape.tokens_per_group} a group of {shape.frames_per_group}){kept_line(config, visual)}",
        ),
        (
            "global batch",
            f"{outlook.rows} rows of at most {config.data.max_tokens} tokens, "
            f"{config.trainer.max_steps} steps",
        ),
        ("samples", samples_line(outlook)),
        ("stage", stage_line(config, sizes.parameters)),
        ("weights", weights_line(config, sizes.parameters)),
        ("data", data_line(config)),
        (
            "memory",
            f"{human_size(sizes.bytes_a_process)} a process{spread} for weights, gradients and optimizer",
        ),
        ("activations", activations_line(outlook)),
        *([] if outlook.recomputing is None else [("blocks", str(outlook.recomputing))]),
        ("checkpoint", human_size(sizes.checkpoint_bytes)),
        ("fits", outlook.fits + there),
        ("cost", "arithmetic, GPU-hours, peak memory by part:  vxl explain cost, with the same words"),
    ]


def activations_line(outlook: Outlook) -> str:
    """What the backward pass needs, as far as the formula goes."""
    if not outlook.activations:
        return "not known: only the compressor learns, of which the formula knows nothing"
    data = outlook.config.data
    return (
        f"about {human_size(outlook.activations)} a process for {data.batch} rows of {data.max_tokens} "
        "tokens: what blocks of tower and language model keep for the backward pass, by formula, without "
        "compressor and scores (trainer.micro_batch=auto measures)"
    )


def samples_line(outlook: Outlook) -> str:
    """Samples in all, and how often each is seen."""
    config = outlook.config
    samples = outlook.rows * config.trainer.max_steps
    line = f"{samples:,} in all{', at least' * config.data.packing}"
    if outlook.samples is None:
        return line + " (epochs are known when the data is prepared)"
    return f"{line}: {rounded(samples / max(1, outlook.samples))} epochs of {outlook.samples:,}"


def stage_line(config: TrainConfig, parts: Collection[str]) -> str:
    """Which parts learn, of those that have parameters, and at which peak learning rates."""
    learn = [part for part in config.stage.train if part in parts]
    rates = {part: getattr(config.stage.part_lr, part) or config.optim.lr for part in learn}
    name = f"{config.stage.name}: " if config.stage.name else ""
    if len(set(rates.values())) == 1:
        learns = "learns" if len(rates) == 1 else "learn"
        one = f"learning rate {next(iter(rates.values())):g}"
        return f"{name}{', '.join(rates)} {learns}, {one} ({config.optim.schedule})"
    each = ", ".join(f"{part} {rate:g}" for part, rate in rates.items())
    return f"{name}learning rates {each} ({config.optim.schedule})"


def how_line(config: TrainConfig) -> str:
    """The model, and how it would be trained: precision, strategy, devices."""
    size = "" if config.size in (None, "published") else f" size={config.size}"
    devices, strategy = config.trainer.devices * config.trainer.num_nodes, config.strategy.name
    each = "1 device" if devices == 1 else f"{devices} devices"
    context = config.strategy.context
    shared = f", a row on {context} of them" if context > 1 else ""
    return f"{config.model}{size}, {config.trainer.precision}, strategy {strategy}, {each}{shared}"


def kept_line(config: TrainConfig, visual: int) -> str:
    """How many of a video's visual tokens reach the language model, where a selector drops some."""
    selector = config.selector
    if not isinstance(selector, QueryConfig):
        return ""
    tokens = visual if selector.keep is None else round(selector.keep * visual)
    tokens = tokens if selector.tokens is None else min(tokens, selector.tokens)
    return f", of which the selector keeps {'at most ' if selector.keep is None else 'about '}{tokens}"
