"""What several experiments measure: a model of Video-XL-2's shapes with random weights."""

from vxl.compressor.dts import DTSConfig
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.decoder import DecoderConfig
from vxl.parts import ModelParts
from vxl.prefill.base import PrefillConfig
from vxl.relevance.uniform import UniformConfig
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
