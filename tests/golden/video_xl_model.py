"""Sequences that were recorded from the published code of Video-XL, and their language model."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from vxl.kv.vst import VST, VSTConfig
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.prefill.base import Prefill
from vxl.prefill.full import Full, FullConfig
from vxl.prefill.summarizing import around
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

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
    return vst, around(Full(FullConfig()), vst, seed=0)


def sequence(case: int, llm: Decoder) -> tuple[Tensor, Tensor, Layout]:
    """Tokens [1, T], the spliced embeddings, and the layout."""
    known, golden = CASES[case], recorded(case)
    device = next(llm.parameters()).device
    ids_1T = golden["input_ids"][None].to(device)
    shown = slice(known["prefix_len"], known["prefix_len"] + known["visual_len"])
    layout = Layout.text(1, ids_1T.shape[1], device)
    layout.kind_BT[:, shown] = Kind.VISUAL
    layout.item_BT[:, shown] = layout.group_BT[:, shown] = 0
    embeds_1TD = llm.embed(ids_1T)
    features = golden["image_features"].to(device, embeds_1TD.dtype)
    return ids_1T, embeds_1TD.masked_scatter(layout.visual_BT[..., None], features), layout


@torch.no_grad()
def answered(case: int, dtype: torch.dtype, cut: int = 10_000, device: str = "cpu") -> dict[str, Tensor]:
    """What answering gives under the recorded names, the video fed in pieces of `cut` tokens."""
    known, llm = CASES[case], language_model(dtype).to(device)
    vst, summarizing = policy(case)
    _, embeds_1TD, layout = sequence(case, llm)
    head = known["prefix_len"] + known["visual_len"]
    cache = llm.new_cache()
    for start in range(0, head, cut):
        stop = min(start + cut, head)
        summarizing.feed(llm, vst, cache, Piece(embeds_1TD[:, start:stop], layout.slice(start, stop)))
    summarizing.finish(llm, vst, cache)
    logits_TV = llm.logits(llm.extend(embeds_1TD[:, head:], cache)[0])
    memory = known["memory_after_prompt"]
    assert [cache.entries(layer) for layer in range(3)] == [sum(memory.values())] * 3
    beacons = slice(memory["sink"], memory["sink"] + memory["beacon"])
    keys_NSH = torch.cat([block.keys_BNSH for block in cache.layers[2]], 2)[0]
    values_NSH = torch.cat([block.values_BNSH for block in cache.layers[2]], 2)[0]
    said, steps = [int(logits_TV[-1].argmax())], []
    for _ in known["greedy_tokens"]:
        steps.append(
            llm.logits(llm.extend(llm.embed(torch.tensor([said[-1:]], device=device)), cache))[0, -1]
        )
        said.append(int(steps[-1].argmax()))
    assert said[:-1] == known["greedy_tokens"]
    return {
        "last_window_logits": logits_TV[-len(recorded(case)["last_window_logits"]) :],
        "beacon_k_layer2": keys_NSH[:, beacons],
        "beacon_v_layer2": values_NSH[:, beacons],
        "step_logits": torch.stack(steps),
    }


@torch.enable_grad()
def trained(case: int, dtype: torch.dtype, checkpointing: bool = False) -> dict[str, Tensor]:
    """The gradients under the recorded names; the loss is compared here."""
    known, llm = CASES[case], language_model(dtype)
    if checkpointing:
        llm.checkpoint_activations(True)
        llm.train()
    vst, summarizing = policy(case)
    ids_1T, embeds_1TD, layout = sequence(case, llm)
    labels_1T = torch.full_like(ids_1T, -100)
    last = known["supervised_last_tokens"]
    labels_1T[:, -last:] = ids_1T[:, -last:]
    labels_1T[layout.visual_BT] = -100
    hidden_1TD, *_ = summarizing.forward(llm, vst, embeds_1TD, torch.zeros_like(ids_1T), layout)
    places_1T = labels_1T[:, 1:] != -100
    loss = F.cross_entropy(llm.logits(hidden_1TD[:, :-1][places_1T]), labels_1T[:, 1:][places_1T])
    loss.backward()
    bound = 2e-5 if dtype == torch.float64 else 2e-4
    assert abs(loss.item() - known["train_loss"]) <= bound * (1 + known["train_loss"])
    key: Any = llm.causal_lm.get_submodule("model.layers.0.self_attn.k_proj")
    assert llm.beacon is not None
    gradients = {
        "grad_beacon_embed": llm.beacon.grad,
        "grad_layer0_beacon_k_weight": key.beacon.weight.grad,
        "grad_layer0_k_weight": key.weight.grad,
    }
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}
