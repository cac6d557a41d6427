"""Beacons: projections that start as the ordinary ones, beside LoRA's updates, only where they stand."""

import pytest
import torch
from torch import Tensor

from tests.llm.tiny import FAMILIES, decoder, without_updates
from vxl.llm.beacon import BeaconLinear, is_of_beacon, with_beacons
from vxl.llm.decoder import Decoder
from vxl.llm.lora import LoRAConfig, is_update

LETTERS = ["q", "k", "v", "o", "mlp"]


def with_letters(model_type: str = "qwen2", seed: int = 0, rank: int = 0) -> Decoder:
    llm = decoder(model_type, seed, lora=LoRAConfig(rank=rank, alpha=3.0)).double()
    llm.add_beacons(LETTERS)
    return llm


def hidden(llm: Decoder, beacons: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    embeds_BTD = torch.randn(2, 7, 48, generator=generator, dtype=torch.float64)
    return llm(embeds_BTD, llm.step(torch.arange(7).expand(2, 7), beacons=beacons))


PLACES = torch.tensor([3, 6, 9])


def stir(llm: Decoder, chosen: str) -> None:
    """Moves the weights of a kind away from where they start."""
    with torch.no_grad():
        for name, parameter in llm.named_parameters():
            if chosen in name:
                noise = torch.randn(
                    parameter.shape,
                    generator=torch.Generator().manual_seed(len(name)),
                    dtype=parameter.dtype,
                )
                parameter.add_(0.3 * noise)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_they_start_as_ordinary_tokens(model_type: str) -> None:
    llm = with_letters(model_type)
    plain = decoder(model_type).double()
    names = {name for name in llm.state_dict() if not is_of_beacon(f"llm.{name}")}  # as in a whole model
    assert names == set(plain.state_dict())
    torch.testing.assert_close(hidden(llm, PLACES), hidden(plain), rtol=1e-12, atol=1e-12)


def test_their_weights_touch_no_token_before_them() -> None:
    llm = with_letters()
    before = hidden(llm, PLACES)
    stir(llm, ".beacon.")
    after = hidden(llm, PLACES)
    assert torch.equal(after[0, :3], before[0, :3])  # places 3 and 6 of the first row, 9 = 2 of the second
    assert torch.equal(after[1, :2], before[1, :2])
    assert not torch.allclose(after[0, 3], before[0, 3], atol=1e-3)
    assert torch.equal(hidden(llm), hidden(decoder().double()))


def test_beside_lora_they_keep_their_own_weights() -> None:
    adapted = with_letters(rank=4)
    for chosen in ("lora_", ".beacon."):
        stir(adapted, chosen)
    assert not any(is_update(name) and is_of_beacon(name) for name in adapted.state_dict())
    plain = with_letters()
    plain.load_state_dict(without_updates(adapted, 3.0 / 4))
    torch.testing.assert_close(hidden(plain, PLACES), hidden(adapted, PLACES), rtol=1e-10, atol=1e-10)


def test_they_start_from_the_weights_they_stand_beside() -> None:
    llm, other = with_letters(), decoder(seed=5).double()
    stir(llm, ".beacon.")
    llm.load_state_dict(other.state_dict(), strict=False)
    trained = next(name for name in llm.state_dict() if name.endswith("v_proj.beacon.weight"))
    kept = llm.state_dict()[trained].clone()
    llm.start_beacons(["beacon", *(n for n in llm.state_dict() if is_of_beacon(n) and n != trained)])
    assert torch.equal(llm.state_dict()[trained], kept)
    for name, layer, beacon in with_beacons(llm):
        assert isinstance(beacon, BeaconLinear)
        assert torch.equal(beacon.weight, layer.weight) == (f"{name}.beacon.weight" != trained)
    assert torch.equal(llm.beacon, llm.embed(torch.tensor([[llm.beacon_token]]))[0])
