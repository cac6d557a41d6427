"""The rotation by place."""

import math

import torch

from vxl.selector.rotary import exponential, frequencies, rotate_neighbours


def test_the_exponential_is_right_to_the_last_bit_or_nearly():
    x = -16 * torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    exact = x.double().exp()
    unit = torch.nextafter(exact.float(), torch.tensor(2.0)).double() - exact.float().double()
    assert ((exponential(x).double() - exact) / unit).abs().max() < 0.55
    assert exponential(torch.zeros(1)).item() == 1.0


def test_a_bit_that_libraries_disagree_about():
    """exp(-6 ln(1e6) / 96) lies 0.48 of a unit above one float32 number; the recorded code took the next."""
    assert frequencies(96, 1e6)[3].item() == 0.4216965138912201


def test_pairs_turn_by_place_times_frequency():
    x_SD = torch.randn(7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    places_S = torch.tensor([0, 1, 2, 5, 9, 30, 200])
    turned = torch.view_as_complex(rotate_neighbours(x_SD, places_S).unflatten(1, (4, 2)).contiguous())
    plain = torch.view_as_complex(x_SD.unflatten(1, (4, 2)).contiguous())
    angle = places_S[:, None] * torch.exp(-math.log(1e6) * torch.arange(4) / 4).double()
    torch.testing.assert_close(turned, plain * torch.polar(torch.ones_like(angle), angle), rtol=0, atol=1e-4)


def test_half_precision_goes_in_and_comes_out():
    x_SD = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate_neighbours(x_SD.bfloat16(), torch.arange(3))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float(), rotate_neighbours(x_SD, torch.arange(3)), rtol=2e-2, atol=2e-2)
