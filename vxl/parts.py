"""The parts of a model and their settings, as `vxl.load` reads them: no training, no evaluation."""

from dataclasses import dataclass, field

from vxl.compressor.base import CompressorConfig
from vxl.data.batch.prompt import PromptConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.decoder import DecoderConfig
from vxl.prefill.base import PrefillConfig
from vxl.prune.base import PruneConfig
from vxl.prune.none import KeepEverythingConfig
from vxl.relevance.attention import AttentionConfig
from vxl.relevance.base import RelevanceConfig
from vxl.selector.base import SelectorConfig
from vxl.selector.none import KeepAllConfig
from vxl.video.sample import VideoConfig
from vxl.vision.base import VisionConfig


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
