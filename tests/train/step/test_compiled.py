"""torch.compile by block: the same loss, gradients and names."""

import pytest
import torch

from tests import small_model as small
from vxl.data.batch.collate import collate
from vxl.kv.vst import VSTConfig
from vxl.llm.decoder import DecoderConfig
from vxl.llm.lora import LoRAConfig
from vxl.prune.visionzip import VisionZipConfig
from vxl.train.step.compiled import compile_blocks, compiled_modules
from vxl.vision.siglip import SiglipConfig


def batch():
    rows = [[small.example(small.video(2))], [small.example(small.IMAGE), small.example(answer=(10, 12))]]
    return collate(rows, pad=0)


def loss_and_gradients(model, rows=None):
    model.train()
    loss = model(rows or batch()).loss_sum
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_every_block_is_found_once():
    model = small.model()
    found = list(compiled_modules(model))
    assert len(found) == len(set(map(id, found))) == 1 + 6 + 1 + 2  # tower, compressor, projector, LM
    assert compile_blocks(model, "none") == 0


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_change_neither_numbers_nor_names(checkpointing):
    lora = LoRAConfig(rank=2 * checkpointing)
    llm = DecoderConfig(vocab=97, width=48, mlp=64, layers=2, checkpointing=checkpointing, lora=lora)
    plain, compiled = small.model(llm=llm), small.model(llm=llm)
    assert compile_blocks(compiled, "aot_eager") == 10
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    (loss, wanted), (found, got) = loss_and_gradients(plain), loss_and_gradients(compiled)
    torch.testing.assert_close(found, loss)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        atol = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=atol, msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.slow
def test_a_pruner_hears_the_last_block_of_a_compiled_tower():
    """Of two blocks, which would share one program: the pruner heard nothing."""
    parts = {
        "prune": VisionZipConfig(keep=0.5),
        "vision": SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=2),
    }
    plain, compiled = small.model(**parts), small.model(**parts)
    assert compile_blocks(compiled, "aot_eager") == 10  # without the last block of the tower
    (loss, wanted), (found, got) = loss_and_gradients(plain), loss_and_gradients(compiled)
    torch.testing.assert_close(found, loss)
    assert got.keys() == wanted.keys()


@pytest.mark.slow
def test_a_compiled_block_with_beacons_gives_the_same_numbers():
    parts = {"kv": VSTConfig(ratio=2, groups=1), "llm": DecoderConfig(vocab=97, width=48, mlp=64, layers=1)}
    plain, compiled = small.model(**parts), small.model(**parts)
    assert compile_blocks(compiled, "aot_eager") == 9
    rows = collate([[small.example(small.video(2))], [small.example(small.IMAGE)]], pad=0)
    (loss, wanted), (found, got) = loss_and_gradients(plain, rows), loss_and_gradients(compiled, rows)
    torch.testing.assert_close(found, loss)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        atol = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=atol, msg=name)
    assert any(".beacon." in name for name in got)
