"""Video-XL-Pro with the golden weights, behind a tower that gives the recorded features."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.golden import FOLDER, golden
from vxl.compressor.dts import DTS, DTSConfig
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.model import VideoLanguageModel
from vxl.option.build import build
from vxl.prefill.full import FullConfig
from vxl.prune.none import KeepEverything, KeepEverythingConfig
from vxl.relevance.attention import AttentionConfig
from vxl.selector.query import Query, QueryConfig
from vxl.sequence.layout import Kind

PLACEHOLDER = 502
WIDTH = 96
CASES: list[Any] = json.loads((FOLDER / "video_xl_pro" / "meta.json").read_text())["cases"]
NAMES = {
    "model.sae.": "compressor.dts.",
    "model.mm_projector.": "compressor.projector.",
    "model.text_mlp.0.": "selector.text.",
    "model.WindowTimeToTokenAttention.": "selector.attention.",
    "lm_head.": "llm.causal_lm.lm_head.",
    "model.": "llm.causal_lm.model.",
}


class Tower(nn.Module):
    """Takes numbered frames and gives each one's recorded features."""

    def __init__(self, features_FPV: Tensor) -> None:
        super().__init__()
        self.features_FPV = features_FPV

    def forward(self, frames_FCHW: Tensor, visuals: Sequence[int] = ()) -> Tensor:
        return self.features_FPV[frames_FCHW[:, 0, 0, 0].long()]


def model(case: Any, dtype: torch.dtype) -> VideoLanguageModel:
    """The published model as it was recorded in a case."""
    recorded = golden(f"video_xl_pro/case{case['case']}")
    llm = DecoderConfig(vocab=512, width=WIDTH, mlp=192, layers=2, heads=4, kv_heads=2)
    dts = DTSConfig(grid=24, published_layout=True, published_relative_key=True)
    selector = QueryConfig(keep=case["keep_rate"], published_query=True, published_multiple=True)
    built = VideoLanguageModel(
        Tower(recorded["hidden_int8"].to(dtype) / 32),  # ty: ignore[invalid-argument-type]
        DTS(dts, vision_width=64, grid=27, llm_width=WIDTH),
        KeepEverything(KeepEverythingConfig()),
        Query(selector, llm_width=WIDTH),
        Decoder(llm),
        build(FullConfig(groups=2)),
        build(KeepAllConfig()),
        build(AttentionConfig()),
    )
    weights = {renamed(name): value for name, value in golden("video_xl_pro/weights").items()}
    built.load_state_dict(weights)
    return built.to(dtype).eval().requires_grad_(False)


def renamed(name: str) -> str:
    """A published key as ours."""
    theirs = next(prefix for prefix in NAMES if name.startswith(prefix))
    return NAMES[theirs] + name.removeprefix(theirs)


def head(case: Any) -> Encoded:
    """The recorded prompt up to the question."""
    encoded = Encoded()
    before, _ = split(case)
    encoded.text(before)
    group = -1
    for token in golden(f"video_xl_pro/case{case['case']}")["time_ids"].tolist():
        kind = Kind.VISUAL if token == PLACEHOLDER else Kind.TIME
        group += kind == Kind.TIME and (encoded.kind[-1] != Kind.TIME)
        encoded.visual([token], kind, group, 0.0)
    encoded.items.append(BatchedVisual("video", case["frames"], case["frames"] // 4))
    return encoded


def split(case: Any) -> tuple[list[int], list[int]]:
    """The prompt's tokens before and after the video."""
    at = case["prompt_ids"].index(-200)
    return case["prompt_ids"][:at], case["prompt_ids"][at + 1 :]


def frames(case: Any) -> Tensor:
    """Numbered frames."""
    return torch.arange(case["frames"])[:, None, None, None].expand(-1, 3, 2, 2)


def sequence(case: Any) -> SimpleNamespace:
    """The whole recorded prompt: tokens, and where everything is."""
    from vxl.generate.watching import layout_of

    encoded = head(case)
    encoded.text(split(case)[1], question=True)
    return SimpleNamespace(tokens_1T=torch.tensor([encoded.tokens]), layout=layout_of(encoded))
