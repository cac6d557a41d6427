"""Rules of every config: what its parts must have to be a model that can watch, answer or train."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vxl.compressor.base import plan
from vxl.compressor.dts import DTSConfig
from vxl.config.rules import Rule, apply_rules
from vxl.errors import ConfigError
from vxl.kv.bilevel import BilevelConfig
from vxl.kv.vst import VSTConfig
from vxl.llm.packed import PACKINGS
from vxl.option.build import build
from vxl.relevance.attention import AttentionConfig
from vxl.relevance.siglip import SiglipRelevanceConfig, needs_siglip
from vxl.train.parallel.strategy import HSDPConfig

if TYPE_CHECKING:  # late: PyAV and Pillow, and --help needs none of them
    from vxl.train.config import TrainConfig

TEXT = 256
"""Tokens of text that a row should have room for beside its video."""


def tokens_for(visual: int) -> int:
    """A round length of rows that hold so many visual tokens and some text.

    Example:
        >>> tokens_for(8), tokens_for(21_888)
        (512, 24576)
    """
    step = min(8192, 2 ** math.ceil(math.log2(visual + TEXT)))
    return math.ceil((visual + TEXT) / step) * step


def frames_are_wanted(config: "TrainConfig") -> Iterator[str]:
    """A video model needs at least one frame."""
    frames = config.video.max_frames
    if frames < 1:
        yield f"video.max_frames={frames} asks for no frame.\n  allowed: 1 or more"


def ratio_fits_grid(config: "TrainConfig") -> Iterator[str]:
    """The ratio divides the grid (the plan raises its own error, with the ratios that fit)."""
    plan(config.compressor, config.vision.grid)
    yield from ()


def video_fits_sequence(config: "TrainConfig") -> Iterator[str]:
    """A video of the most frames fits `data.max_tokens`, with room for the text."""
    if config.video.max_frames < 1:
        return  # reported by frames_are_wanted

    try:
        shape = plan(config.compressor, config.vision.grid)
    except ConfigError:
        return  # reported by ratio_fits_grid
    groups = shape.groups(config.video.max_frames)
    visual = build(config.prune).most_fed(groups, shape.tokens_per_group)
    if visual >= config.data.max_tokens:
        fit = (config.data.max_tokens - 1) // shape.tokens_per_group * shape.frames_per_group
        whole = groups * shape.tokens_per_group
        after = "" if visual == whole else f", of which prune= leaves {visual}"
        yield (
            f"data.max_tokens={config.data.max_tokens} is too short for a video of video.max_frames="
            f"{config.video.max_frames}:\n"
            f"  {groups} groups x {shape.tokens_per_group} = {whole} visual{after}.\n"
            f"  allowed: data.max_tokens above {visual} plus the text, or at most {fit} frames\n"
            f"  e.g.  data.max_tokens={tokens_for(visual)}"
        )


def packed_rows_have_known_lengths(config: "TrainConfig") -> Iterator[str]:
    """How long samples are is known before they are packed."""
    pruner = build(config.prune)
    if config.data.packing and pruner.drops and pruner.count(2, 4) is None:
        yield (
            f"data.packing=true does not go with prune={config.prune.module} as it is set: how many tokens "
            "stay depends on what is seen.\n"
            "  allowed: data.packing=false, or a pruner whose count is known\n"
            "  e.g.  data.packing=false   or  prune=evs"
        )


def levels_have_something_to_pool(config: "TrainConfig") -> Iterator[str]:
    """A pooled entry is made of at most a group's visual tokens."""
    if not isinstance(config.kv, BilevelConfig) or config.kv.pool == 1:
        return

    try:
        tokens = plan(config.compressor, config.vision.grid).tokens_per_group
    except ConfigError:
        return  # reported by ratio_fits_grid
    if config.kv.pool > tokens:
        yield (
            f"kv.pool={config.kv.pool} is more than the visual tokens of a group ({tokens}): "
            "nothing would be pooled.\n"
            f"  allowed: 1 to {tokens}\n  e.g.  kv.pool={tokens}   or a lower compressor.ratio"
        )


def relevance_has_its_layers(config: "TrainConfig") -> Iterator[str]:
    """Layers whose attention counts exist (of pretrained weights, their own sizes count)."""
    llm = config.llm
    layers = config.relevance.layers if isinstance(config.relevance, AttentionConfig) else None
    if not layers or llm.weights != "random":
        return
    wrong = [layer for layer in layers if not 0 <= layer < llm.layers]
    if wrong:
        yield (
            f"relevance.layers={layers}: the language model has no layer {wrong[0]}.\n"
            f"  allowed: 0 to {llm.layers - 1}\n  e.g.  relevance.layers=[{llm.layers // 2}]"
        )


def relevance_has_its_tower(config: "TrainConfig") -> Iterator[str]:
    """SigLIP's relevance goes on from SigLIP's tower (it raises its own error)."""
    if isinstance(config.relevance, SiglipRelevanceConfig):
        needs_siglip(config.vision)
    yield from ()


def devices_have_a_strategy(config: "TrainConfig") -> Iterator[str]:
    """Several devices need a strategy that uses them, and the other way round."""
    devices, nodes = config.trainer.devices, config.trainer.num_nodes
    name, ranks = config.strategy.name, devices * nodes
    message_got = f"got trainer.devices={devices} trainer.num_nodes={nodes}"
    if name == "single" and ranks > 1:
        yield (
            f"strategy=single uses one device; {message_got}.\n"
            "  allowed: trainer.devices=1 trainer.num_nodes=1\n"
            f"  e.g.  strategy=ddp trainer.devices={devices}    (a copy of the model on each)\n"
            f"        strategy=fsdp2 trainer.devices={devices}  (one model spread over all)"
        )
    if name in ("ddp", "fsdp2", "hsdp") and ranks == 1:
        yield (
            f"strategy={name} needs several devices; {message_got}.\n"
            f"  allowed: 2 or more in all\n  e.g.  strategy={name} trainer.devices=2\n"
            "        strategy=single             (on one)"
        )
    if name in ("fsdp2", "hsdp") and config.trainer.micro_batch == "auto":
        yield (
            f"trainer.micro_batch=auto tries the whole model on one device; strategy={name} spreads it.\n"
            "  type  trainer.micro_batch=given data.batch=ROWS"
        )
    shard = (config.strategy.shard if isinstance(config.strategy, HSDPConfig) else None) or devices
    if name == "hsdp" and ranks > 1 and (ranks % shard or shard == ranks):
        sizes = [n for n in range(1, ranks) if ranks % n == 0 and n > 1] or [1]
        yield (
            f"strategy=hsdp makes copies of the model, each on {shard} of {ranks} processes; {message_got}.\n"
            f"  allowed: strategy.shard={', '.join(map(str, sizes))}\n"
            f"  e.g.  strategy=hsdp strategy.shard={sizes[0]}\n        strategy=fsdp2   (one model over all)"
        )


def rows_can_be_shared(config: "TrainConfig") -> Iterator[str]:
    """What processes that share rows can't do yet, or do not do in the numbers of one process."""
    context = config.strategy.context
    if context == 1:
        return
    ranks = config.trainer.devices * config.trainer.num_nodes
    got, alone = f"strategy.context={context}", "\n  or    strategy.context=1"
    if config.strategy.name == "single":
        yield (
            f"{got} shares each row among {context} processes; strategy=single has one.\n"
            f"  e.g.  strategy=fsdp2 trainer.devices={context} {got}{alone}"
        )
    elif ranks % context:
        sizes = [n for n in range(1, ranks + 1) if ranks % n == 0]
        yield (
            f"{got} does not divide the {ranks} processes (trainer.devices={config.trainer.devices} "
            f"trainer.num_nodes={config.trainer.num_nodes}).\n"
            f"  allowed: strategy.context={', '.join(map(str, sizes))}\n"
            f"  e.g.  {got} trainer.devices={context * max(1, ranks // context)}"
        )
    if isinstance(config.kv, VSTConfig):
        yield (
            f"{got} does not go with kv=vst: its windows follow each other through a memory, and can't be "
            f"shared out.\n  allowed: another kv, or a process a row\n  e.g.  kv=full{alone}"
        )
    if config.stage.objective != "language":
        yield (
            f"{got} shares out sequences, and stage.objective={config.stage.objective} has none.\n"
            "  e.g.  strategy.context=1"
        )
    if config.llm.attention != "sdpa":
        yield (
            f"{got} attends by llm.attention=sdpa alone; got llm.attention={config.llm.attention}.\n"
            f"  e.g.  llm.attention=sdpa{alone}"
        )
    if config.llm.lora.rank and config.llm.lora.dropout:
        yield (
            f"{got} draws no dropout that one process would draw; got llm.lora.dropout="
            f"{config.llm.lora.dropout}.\n  e.g.  llm.lora.dropout=0{alone}"
        )
    if config.trainer.micro_batch == "auto":
        yield (
            f"trainer.micro_batch=auto tries micro-batches in one process, and {got} needs {context}.\n"
            "  type  trainer.micro_batch=given data.batch=ROWS"
        )


def windows_are_not_packed(config: "TrainConfig") -> Iterator[str]:
    """Windows of visual tokens run row by row, a sample each."""
    if config.data.packing and isinstance(config.kv, VSTConfig):
        yield (
            "data.packing=true does not go with kv=vst: windows of packed samples would share a memory.\n"
            "  allowed: data.packing=false, or another kv\n  e.g.  data.packing=false"
        )


def packed_weights_have_updates(config: "TrainConfig") -> Iterator[str]:
    """Weights are packed beside LoRA's updates, in processes that have all of them."""
    frozen = config.trainer.frozen
    if frozen not in PACKINGS:
        return
    if not config.llm.lora.rank:
        yield (
            f"trainer.frozen={frozen} packs weights beside LoRA's updates, and llm.lora.rank=0 has none.\n"
            f"  e.g.  stage=lora trainer.frozen={frozen}\n        trainer.frozen=bf16"
        )
    strategy = config.strategy.name
    if not config.strategy.is_whole:
        yield (
            f"trainer.frozen={frozen} does not go with strategy={strategy}, which shards whole weights.\n"
            f"  e.g.  strategy=ddp trainer.frozen={frozen}\n        strategy={strategy} trainer.frozen=bf16"
        )


def reconstruction_has_a_network(config: "TrainConfig") -> Iterator[str]:
    """What learns by reconstruction is the network of compressor=dts."""
    if config.stage.objective != "reconstruct":
        return

    if not isinstance(config.compressor, DTSConfig):
        yield (
            "stage.objective=reconstruct trains the network of compressor=dts; "
            f"{config.compressor._target_} has none.\n"
            "  allowed: compressor=dts, or a stage of another objective\n"
            "  e.g.  stage=align   or a recipe without this stage: 'recipe.stages=[{stage: align}, …]'"
        )


def name_is_a_folder(config: "TrainConfig") -> Iterator[str]:
    """Names become folders below paths.runs."""
    name = config.sweep_name or config.name
    if name and not all(re.fullmatch(r"[\w][\w.=,+@-]*", part) for part in name.split("/")):
        yield (
            f"name={name} is no folder name.\n"
            "  allowed: letters, digits and inside also - _ . = , + @ and /\n  e.g.  name=first"
        )


RULES: list[Rule] = [
    frames_are_wanted,
    ratio_fits_grid,
    video_fits_sequence,
    levels_have_something_to_pool,
    relevance_has_its_layers,
    relevance_has_its_tower,
    devices_have_a_strategy,
    rows_can_be_shared,
    windows_are_not_packed,
    packed_rows_have_known_lengths,
    packed_weights_have_updates,
    reconstruction_has_a_network,
    name_is_a_folder,
]


def check_config(config: "TrainConfig") -> None:
    """Raises ConfigError where a config breaks rules, with all problems that were found."""
    apply_rules(RULES, config)
