"""What a tower's last block attends to, for pruners that ask: attention and keys of every patch.

Towers without a class token (SigLIP) have no query that stands for the frame; there a patch counts as much as
all patches attend to it on average, as VisionZip takes it. With a class token (CLIP, DINOv2) it is that
token's attention.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.errors import ConfigError
from vxl.store import using
from vxl.vision.base import VisionEncoder
from vxl.vision.feature_cache import FeatureCache
from vxl.vision.vit import TowerAttention, TowerBlock, ViT

FRAMES = 16
"""Frames whose attention is computed at once: P x P numbers a head and frame."""


class Salience:
    """Attention and keys of the frames that were encoded while it listened."""

    def __init__(self, tower: ViT) -> None:
        self.tower = tower
        self.attention: list[Tensor] = []
        self.keys: list[Tensor] = []

    def hear(self, attention: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Called with the normed input of the last block's attention."""
        assert isinstance(attention, TowerAttention)
        with torch.no_grad():
            for x_FPV in inputs[0].split(FRAMES):
                self._add(attention, x_FPV)

    def _add(self, attention: TowerAttention, x_FPV: Tensor) -> None:
        extra, heads = self.tower.extra_tokens, attention.heads
        key_FPV = attention.k_proj(x_FPV)
        query_FPV = attention.q_proj(x_FPV[:, :1] if self.tower.class_tokens else x_FPV)
        query_FNPH, key_FNPH = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_FPV, key_FPV))
        scores = (query_FNPH @ key_FNPH.mT).float() * query_FNPH.shape[-1] ** -0.5
        self.attention.append(scores.softmax(dim=-1).mean(dim=(1, 2))[:, extra:])
        self.keys.append(key_FPV[:, extra:])

    def pooled(self, frames: int, frames_per_group: int, tokens: int) -> tuple[Tensor, Tensor]:
        """(attention_GK, keys_GKV): means over a group's frames, pooled to its grid of visual tokens.

        Args:
            frames: How many were encoded.
            frames_per_group: Of the compressor.
            tokens: K.
        """
        # Where the tower is sharded it may have encoded blank frames behind them, see `VisionEncoder`.
        attention_FP, keys_FPV = torch.cat(self.attention)[:frames], torch.cat(self.keys)[:frames]
        self.attention, self.keys = [], []
        side, grid = round(tokens**0.5), round(attention_FP.shape[1] ** 0.5)
        if side**2 != tokens:
            raise ConfigError(
                f"a group of {tokens} visual tokens is no square: no attention can be pooled to it.\n"
                "  choose a pruner that needs no attention: evs, vidcom2, dtd, tome, dycoke, uniform"
            )
        stacked = torch.cat([attention_FP[..., None], keys_FPV.float()], dim=-1)
        square = stacked.transpose(1, 2).unflatten(-1, (grid, grid))
        pooled = (
            F.adaptive_avg_pool2d(square, side).flatten(2).unflatten(0, (-1, frames_per_group)).mean(dim=1)
        )
        return pooled[:, 0], pooled[:, 1:].transpose(1, 2)


@contextmanager
def salience(tower: VisionEncoder) -> Generator[Salience]:
    """Listens to a tower's last block, which therefore runs, whatever features are kept.

    Raises:
        ConfigError: The tower is none of vxl's transformers.
    """
    if not isinstance(tower, ViT):
        raise ConfigError(f"vision={type(tower).__name__} tells no attention, which this pruner asks for.")
    heard = Salience(tower)
    last = list(tower.encoder["layers"].children())[-1]
    assert isinstance(last, TowerBlock)
    hook = last.self_attn.register_forward_pre_hook(heard.hear)
    try:
        with using(FeatureCache, None):
            yield heard
    finally:
        hook.remove()
