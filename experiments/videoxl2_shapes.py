"""What several experiments measure: a model of Video-XL-2's shapes with random weights, and a prompt as it
writes one."""

import numpy as np

from vxl.compressor.dts import DTSConfig
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.decoder import DecoderConfig
from vxl.model import VideoLanguageModel
from vxl.parts import ModelParts
from vxl.prefill.base import PrefillConfig
from vxl.relevance.uniform import UniformConfig
from vxl.sequence.layout import Kind
from vxl.video.sample import FpsConfig
from vxl.vision.siglip import SiglipConfig


def parts_of(prefill: PrefillConfig, *, kv: PolicyConfig | None = None, tiny: bool) -> ModelParts:
    """The parts, with a policy that has weights of its own or none; true sizes are those of Video-XL-2."""
    vision, compressor = SiglipConfig(), DTSConfig(grid=24)
    llm = DecoderConfig(vocab=152064, width=3584, mlp=18944, layers=28, heads=28, kv_heads=4, rope_theta=1e6)
    if tiny:
        vision, compressor = SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=1), DTSConfig()
        llm = DecoderConfig(vocab=1024, width=64, mlp=96, layers=2, heads=4, kv_heads=2)
    return ModelParts(
        model="videoxl2",
        size="tiny" if tiny else "published",
        video=FpsConfig(),
        vision=vision,
        compressor=compressor,
        llm=llm,
        prefill=prefill,
        kv=kv or KeepAllConfig(),
        relevance=UniformConfig(),
    )


def head_of(model: VideoLanguageModel, frames: int) -> Encoded:
    """A prompt as Video-XL-2 writes it, up to the question: at one frame a second, with random tokens."""
    random = np.random.default_rng(0)
    vocab = model.llm.vocab
    encoded = Encoded()
    encoded.text(random.integers(vocab, size=14).tolist())
    groups = -(-frames // 4)
    for group in range(groups):
        digits = len(str(4 * group))
        encoded.visual(random.integers(vocab, size=6 + digits).tolist(), Kind.TIME, group, 4.0 * group)
        encoded.visual([0] * model.compressor.tokens_per_group, Kind.VISUAL, group, 4.0 * group)
    encoded.items.append(BatchedVisual("video", 4 * groups, groups))
    return encoded
