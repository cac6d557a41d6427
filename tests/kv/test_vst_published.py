"""Beacons and windows against the numbers of the published code of Video-XL."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden.video_xl_model import CASES, language_model, policy, recorded, sequence
from vxl.prefill.base import Piece

DOUBLE, SINGLE = (torch.float64, 2e-5), (torch.float32, 2e-4)
NUMBERS = range(len(CASES))


def close(got: Tensor, expected: Tensor, bound: float) -> None:
    torch.testing.assert_close(got, expected.to(got.dtype), rtol=bound, atol=bound)


@torch.no_grad()
@pytest.mark.parametrize("case", NUMBERS)
@pytest.mark.parametrize(("dtype", "bound", "cut"), [(*DOUBLE, 10_000), (*DOUBLE, 37), (*SINGLE, 37)])
def test_memory_and_answers(case: int, dtype: torch.dtype, bound: float, cut: int) -> None:
    known, golden, llm = CASES[case], recorded(case), language_model(dtype)
    vst, windows = policy(case)
    _, embeds_1TD, layout = sequence(case, llm)
    head = known["prefix_len"] + known["visual_len"]
    cache = llm.new_cache()
    for start in range(0, head, cut):
        stop = min(start + cut, head)
        windows.feed(llm, vst, cache, Piece(embeds_1TD[:, start:stop], layout.slice(start, stop)))
    windows.finish(llm, vst, cache)
    logits_TV = llm.logits(llm.extend(embeds_1TD[:, head:], cache)[0])
    close(logits_TV[-len(golden["last_window_logits"]) :], golden["last_window_logits"], bound)

    memory = known["memory_after_prompt"]
    assert [cache.entries(layer) for layer in range(3)] == [sum(memory.values())] * 3
    beacons = slice(memory["sink"], memory["sink"] + memory["beacon"])
    keys_NSH = torch.cat([block.keys_BNSH for block in cache.layers[2]], 2)[0]
    values_NSH = torch.cat([block.values_BNSH for block in cache.layers[2]], 2)[0]
    close(keys_NSH[:, beacons], golden["beacon_k_layer2"], bound)
    close(values_NSH[:, beacons], golden["beacon_v_layer2"], bound)

    said, steps = [int(logits_TV[-1].argmax())], []
    for _ in known["greedy_tokens"]:
        steps.append(llm.logits(llm.extend(llm.embed(torch.tensor([said[-1:]])), cache))[0, -1])
        said.append(int(steps[-1].argmax()))
    assert said[:-1] == known["greedy_tokens"]
    close(torch.stack(steps), golden["step_logits"], bound)


@pytest.mark.parametrize("case", NUMBERS)
@pytest.mark.parametrize(
    ("dtype", "bound", "checkpointing"), [(*DOUBLE, False), (*DOUBLE, True), (*SINGLE, False)]
)
def test_loss_and_gradients(case: int, dtype: torch.dtype, bound: float, checkpointing: bool) -> None:
    known, golden, llm = CASES[case], recorded(case), language_model(dtype)
    if checkpointing:
        llm.checkpoint_activations(True)
        llm.train()
    vst, windows = policy(case)
    ids_1T, embeds_1TD, layout = sequence(case, llm)
    labels_1T = torch.full_like(ids_1T, -100)
    last = known["supervised_last_tokens"]
    labels_1T[:, -last:] = ids_1T[:, -last:]
    labels_1T[layout.visual_BT] = -100
    hidden_1TD = windows.forward(llm, vst, embeds_1TD, torch.zeros_like(ids_1T), layout)
    places_1T = labels_1T[:, 1:] != -100
    loss = F.cross_entropy(llm.logits(hidden_1TD[:, :-1][places_1T]), labels_1T[:, 1:][places_1T])
    close(loss.detach(), torch.tensor(known["train_loss"]), bound)
    loss.backward()
    key = llm.causal_lm.get_submodule("model.layers.0.self_attn.k_proj")
    assert llm.beacon is not None
    found = {
        "grad_beacon_embed": llm.beacon,
        "grad_layer0_beacon_k_weight": key.get_parameter("beacon.weight"),
        "grad_layer0_k_weight": key.get_parameter("weight"),
    }
    for name, parameter in found.items():
        assert parameter.grad is not None
        close(parameter.grad, golden[name], bound)
