"""Sequences that were recorded from published code on tiny random weights, and their language model."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.sequence.layout import Kind, Layout

FOLDER = Path(__file__).parent / "video_xl_2"
PLACEHOLDER = 502
TIME_WORD = 62
"""First token of each group's time text."""


def golden_llm(dtype: torch.dtype) -> Decoder:
    sizes: dict[str, Any] = {"vocab": 512, "width": 96, "mlp": 192, "layers": 3, "heads": 4, "kv_heads": 2}
    llm = Decoder(DecoderConfig(**sizes)).eval()
    llm.causal_lm.load_state_dict(load_file(FOLDER / "llm.safetensors"))
    return llm.to(dtype)


def golden_sequence(case: int) -> tuple[dict[str, Tensor], dict[str, Any], Tensor]:
    """Recorded tensors, what is known about the case, and its tokens [1, T]."""
    recorded = load_file(FOLDER / "sequences.safetensors")
    golden = {key.split(".")[1]: value for key, value in recorded.items() if key.startswith(f"case{case}.")}
    known = json.loads((FOLDER / "meta.json").read_text())["cases"][case]
    prompt = known["prompt_ids"]
    place = prompt.index(-200)
    ids = torch.tensor([[*prompt[:place], *golden["time_ids"].tolist(), *prompt[place + 1 :]]])
    assert ids.shape[1] == known["total_len"]
    return golden, known, ids


def golden_layout(known: dict[str, Any], ids: Tensor) -> Layout:
    """What each token of a recorded sequence is."""
    kinds, groups, group = [], [], -1
    for column, token in enumerate(ids[0].tolist()):
        shown = known["prefix_len"] <= column < known["visual_end"]
        group += shown and token == TIME_WORD
        kinds.append(Kind.TEXT if not shown else Kind.VISUAL if token == PLACEHOLDER else Kind.TIME)
        groups.append(group if shown else -1)
    layout = Layout.text(1, len(kinds))
    layout.kind_BT[0] = torch.tensor(kinds)
    layout.group_BT[0] = torch.tensor(groups)
    layout.item_BT[0] = torch.tensor([0 if g >= 0 else -1 for g in groups])
    return layout


def golden_embeds(llm: Decoder, golden: dict[str, Tensor], ids: Tensor, layout: Layout) -> Tensor:
    """embeds_1TD of a recorded sequence, its visual tokens spliced in."""
    embeds_1TD = llm.embed(ids)
    return embeds_1TD.masked_scatter(
        layout.visual_BT[..., None], golden["visual_features"].to(embeds_1TD.dtype)
    )
