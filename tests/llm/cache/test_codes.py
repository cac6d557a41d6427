"""Numbers in four bits: KIVI's recorded codes, entries that keep their run's scales, and what is missing."""

import pytest
import torch
from torch import Tensor

from tests.golden.policies.measure import FILES, found
from vxl.llm.block import take
from vxl.llm.cache.codes import ChannelCodes, Codes, EntryCodes, affine, packed, unpacked


def recorded(number: int, part: str) -> Tensor:
    return found(f"authors_{number}")[f"kivi.{part}"]


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("number", FILES)
def test_codes_are_those_of_kivi(number: int, bits: int) -> None:
    for part, size in (("key", 32), ("value", 16)):
        x = recorded(number, f"{part}s")
        across = x.unflatten(1, (-1, size)) if part == "key" else x.unflatten(2, (-1, size))
        codes, scale, low = affine(across, dim=2 if part == "key" else 3, bits=bits)
        for name, ours in (("code", codes), ("scale", scale), ("low", low)):
            theirs = recorded(number, f"{part}{bits}.{name}")
            assert torch.equal(ours.reshape(theirs.shape).double(), theirs.double()), (part, name)


@pytest.mark.parametrize("number", FILES)
def test_blocks_hold_the_recorded_codes_two_to_a_byte(number: int) -> None:
    keys = ChannelCodes.of(recorded(number, "keys")[None], 32)
    code = recorded(number, "key4.code").reshape(1, 2, 64, 32)
    assert torch.equal(unpacked(keys.packed_BNSX), code.to(torch.uint8))
    assert keys.packed_BNSX.nbytes == code.numel() // 2
    decoded = keys.decode(torch.float32)
    half = keys.scale_BNRH.repeat_interleave(32, dim=2) / 2
    assert bool(((decoded - recorded(number, "keys")[None]).abs() <= half * (1 + 1e-5)).all())


def test_two_codes_make_a_byte_and_come_apart_again() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(2, 128) % 16
    assert torch.equal(unpacked(packed(codes)), codes)


@pytest.mark.parametrize("kind", ["keys", "values"])
def test_what_stays_is_decoded_as_before(kind: str) -> None:
    """In any order and number by head, once and again, joined to others or not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 24, 8, generator=generator)
    codes: Codes = ChannelCodes.of(x, 4) if kind == "keys" else EntryCodes.of(x)
    order = torch.rand(2, 3, 24, generator=generator).argsort(dim=-1)[..., :7].sort(dim=-1).values
    few = codes.taken(order, None)
    assert torch.equal(few.decode(x.dtype), take(codes.decode(x.dtype), order))
    again = few.taken(torch.tensor([[[0, 3, 6]]]), None)
    assert torch.equal(again.decode(x.dtype), take(few.decode(x.dtype), torch.tensor([[[0, 3, 6]]])))
    both = type(codes).joined([codes, again])  # ty: ignore[invalid-argument-type]
    assert torch.equal(both.decode(x.dtype), torch.cat([codes.decode(x.dtype), again.decode(x.dtype)], 2))


def test_runs_that_nothing_is_left_of_go() -> None:
    codes = ChannelCodes.of(torch.randn(1, 2, 16, 8), 4)
    assert codes.shared_bytes == 2 * 2 * 4 * 8 * 4  # heads, scale and low, runs, channels, bytes
    order, valid = torch.tensor([[[1, 9], [15, 0]]]), torch.tensor([[[True, True], [True, False]]])
    few = codes.taken(order, valid)
    assert few.runs == 2  # of the head that holds most; what does not exist keeps none
    assert torch.equal(few.decode(torch.float32)[0, 0], codes.decode(torch.float32)[0, 0, [1, 9]])
    assert torch.equal(few.decode(torch.float32)[0, 1, 0], codes.decode(torch.float32)[0, 1, 15])
    assert bool(few.decode(torch.float32).isfinite().all())


def test_what_does_not_exist_keeps_no_run() -> None:
    codes = ChannelCodes.of(torch.randn(1, 2, 16, 8), 4)
    order, valid = torch.tensor([[[1, 9], [15, 0]]]), torch.tensor([[[True, False], [True, False]]])
    few = codes.taken(order, valid)
    assert few.runs == 1
    assert torch.equal(few.decode(torch.float32)[0, 1, 0], codes.decode(torch.float32)[0, 1, 15])


@pytest.mark.parametrize("elsewhere", [1e6, -1e6])
def test_entries_that_do_not_exist_have_no_part_in_a_run(elsewhere: float) -> None:
    x = torch.randn(1, 1, 8, 4)
    valid = torch.arange(8) < 6
    far = x.masked_fill(~valid[:, None], elsewhere)
    ours = ChannelCodes.of(far, 4, valid[None, None]).decode(x.dtype)
    assert torch.equal(ours[:, :, :4], ChannelCodes.of(x[:, :, :4], 4).decode(x.dtype))
    assert bool((ours[:, :, 4:6] - x[:, :, 4:6]).abs().max() < 0.5)
    nothing = ChannelCodes.of(far, 4, torch.zeros(1, 1, 8, dtype=torch.bool))
    assert bool(nothing.decode(x.dtype).isfinite().all())


def test_equal_numbers_are_exact_and_half_precision_is_coded_by_the_scales_that_are_held() -> None:
    assert torch.equal(
        EntryCodes.of(torch.full((1, 1, 2, 4), 3.0)).decode(torch.float32), torch.full((1, 1, 2, 4), 3.0)
    )
    x = 100 + torch.rand(1, 1, 32, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    codes = ChannelCodes.of(x, 32)
    assert codes.scale_BNRH.dtype == torch.float16
    step = (x.float().amax(dim=2) - x.float().amin(dim=2)) / 15
    assert bool(((codes.decode(torch.float32) - x.float()).abs() <= 1.1 * step / 2 + 0.04).all())
    huge = torch.tensor([1e30, -1e30]).bfloat16().view(1, 1, 2, 1).expand(-1, -1, -1, 2)
    assert bool(ChannelCodes.of(huge, 2).decode(torch.float32).isfinite().all())
