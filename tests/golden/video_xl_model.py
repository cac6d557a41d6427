"""Sequences that were recorded from the published code of Video-XL, and their language model."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vxl.data.layout import Kind, Layout
from vxl.kv.vst import VST, VSTConfig
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.prefill.base import Prefill
from vxl.prefill.full import Full, FullConfig

FOLDER = Path(__file__).parent / "video_xl"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "meta.json").read_text())["cases"]


def recorded(case: int) -> dict[str, Tensor]:
    """The tensors of a case."""
    tensors = load_file(FOLDER / "sequences.safetensors")
    return {key.split(".")[1]: value for key, value in tensors.items() if key.startswith(f"case{case}.")}


def language_model(dtype: torch.dtype) -> Decoder:
    """The tiny Qwen2 with the recorded weights."""
    llm = Decoder(DecoderConfig(vocab=512, width=96, mlp=192, layers=3, heads=4, kv_heads=2)).eval()
    llm.add_beacons(["q", "k", "v"])
    weights = {}
    for name, tensor in load_file(FOLDER / "weights.safetensors").items():
        ours = "causal_lm." + name
        for letter in "qkv":
            ours = ours.replace(f"beacon_{letter}_proj.", f"{letter}_proj.beacon.")
        weights["beacon" if "beacon_embed" in name else ours] = tensor
    llm.load_state_dict(weights)
    return llm.to(dtype)


def policy(case: int) -> tuple[VST, Prefill]:
    """The policy with the settings of a case, and how it runs."""
    known = CASES[case]
    several = len(known["ratios"]) > 1
    vst = VST(
        VSTConfig(
            ratio=known["ratios"][0],
            ratios=known["ratios"] if several else [],
            window=known["beacon_window"],
            published_partial=True,
            published_draw=True,
        )
    )
    return vst, vst.around(Full(FullConfig()), seed=0)


def sequence(case: int, llm: Decoder) -> tuple[Tensor, Tensor, Layout]:
    """Tokens [1, T], the spliced embeddings, and the layout."""
    known, golden = CASES[case], recorded(case)
    ids_1T = golden["input_ids"][None]
    shown = slice(known["prefix_len"], known["prefix_len"] + known["visual_len"])
    layout = Layout.text(1, ids_1T.shape[1])
    layout.kind_BT[:, shown] = Kind.VISUAL
    layout.item_BT[:, shown] = layout.group_BT[:, shown] = 0
    embeds_1TD = llm.embed(ids_1T)
    features = golden["image_features"].to(embeds_1TD.dtype)
    return ids_1T, embeds_1TD.masked_scatter(layout.visual_BT[..., None], features), layout
