"""The parts of a model and their settings, and whether a device can take them: no training, no evaluation."""

from dataclasses import dataclass, field

import torch

from vxl.compressor.base import CompressorConfig
from vxl.data.batch.prompt import PromptConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.config import count_coded, count_parameters
from vxl.llm.decoder import DecoderConfig
from vxl.memory import refuse_without_memory
from vxl.prefill.base import PrefillConfig
from vxl.prune.base import PruneConfig
from vxl.prune.none import KeepEverythingConfig
from vxl.relevance.attention import AttentionConfig
from vxl.relevance.base import RelevanceConfig
from vxl.selector.base import SelectorConfig
from vxl.selector.none import KeepAllConfig
from vxl.video.sample import VideoConfig
from vxl.vision.base import VisionConfig
from vxl.weights.fp8 import refuse_without_fp8


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """The parts of a model, and where its weights come from: what `vxl.load` needs."""

    model: str
    """Which model the parts make up (a choice of conf/model)."""
    size: str
    """`published`, or `tiny` for the same model in miniature."""
    video: VideoConfig
    vision: VisionConfig
    compressor: CompressorConfig
    prune: PruneConfig = field(default_factory=KeepEverythingConfig, metadata={"later": True})
    selector: SelectorConfig = field(default_factory=KeepAllConfig)
    llm: DecoderConfig
    prefill: PrefillConfig
    kv: PolicyConfig
    relevance: RelevanceConfig = field(default_factory=AttentionConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    weights: str = "random"
    """`random`, or a folder of weights."""
    seed: int = 0
    """Seed of all randomness: weights, order of the data, dropout."""
    plugins: list[str] = field(default_factory=list)
    """Packages of your own whose parts and configs may be named."""


def in_fp8(config: ModelParts) -> bool:
    """Whether a part is to run in float8, as `VideoLanguageModel.to_fp8` makes it."""
    return bool(config.vision.fp8 or config.llm.fp8)


def refuse_fp8(config: ModelParts, device: torch.device, dtype: torch.dtype | None) -> None:
    """Raises ConfigError where a part is to run in float8 on a device that has no such products, or that what
    is not in float8 does not fit into."""
    refuse_without_fp8(config.vision.fp8, "vision.fp8", device)
    refuse_without_fp8(config.llm.fp8, "llm.fp8", device)
    if in_fp8(config):
        refuse_too_large(config, device, dtype, fp8=True)


def refuse_too_large(
    config: ModelParts, device: torch.device, dtype: torch.dtype | None, fp8: bool = False
) -> None:
    """Refuses a model whose language model alone is larger than the memory that is free.

    Args:
        config: Names the parts.
        device: Where the model would be; `meta` needs none.
        dtype: Precision of its parameters; None = torch's default.
        fp8: Whether what `llm.fp8` codes is in float8 already.

    Raises:
        ConfigError: It does not fit; the message names what it needs and what there is.
    """
    if device.type == "meta":
        return
    dtype = dtype or torch.get_default_dtype()
    parameters = count_parameters(config.llm)
    coded = count_coded(config.llm) if fp8 and config.llm.fp8 else 0
    refuse_without_memory(
        (parameters - coded) * dtype.itemsize + coded,
        device,
        f"model={config.model} does not fit: its language model alone ({parameters:,} parameters in "
        f"{str(dtype).removeprefix('torch.')}{f', {coded:,} of them in float8' if coded else ''})",
        "  in miniature:  size=tiny, or model=small (170 million parameters)\n"
        "  elsewhere:     a machine or a GPU with more memory",
    )
