"""The place of a visual token in the video, written into its embedding by a rotation (Video-XL-Pro)."""

import math
from functools import lru_cache

import torch
from torch import Tensor

STEPS = 128


def rotate_neighbours(x_SD: Tensor, places_S: Tensor, theta: float = 1e6) -> Tensor:
    """Rotates neighbouring pairs of dimensions by the place, as rotary positions do to queries and keys.

    The angles are float32 in each step, as published, whatever the model's precision: other forms of the same
    formula are 1e-4 away at place 770.
    """
    angle_SE = places_S.to(torch.float32)[:, None] * frequencies(x_SD.shape[1], theta).to(x_SD.device)
    precise = torch.promote_types(x_SD.dtype, torch.float32)
    cos_SE, sin_SE = angle_SE.to(precise).cos(), angle_SE.to(precise).sin()
    even_SE, odd_SE = x_SD[:, 0::2].to(precise), x_SD[:, 1::2].to(precise)
    pairs_SE2 = torch.stack([even_SE * cos_SE - odd_SE * sin_SE, odd_SE * cos_SE + even_SE * sin_SE], dim=-1)
    return pairs_SE2.flatten(1).to(x_SD.dtype)


@lru_cache(maxsize=8)
def frequencies(width: int, theta: float) -> Tensor:
    """theta ^ (-e / width) of the even dimensions e, float32 on the CPU."""
    even_E = torch.arange(0, width, 2, dtype=torch.float32, device="cpu")
    return exponential(even_E * (-math.log(theta) / width))


def exponential(x: Tensor) -> Tensor:
    """exp of float32 numbers on the CPU, the same on every machine.

    Libraries differ in the last bit, which is 7e-5 in an embedding at place 770. This is the form of the
    library behind the recorded numbers: x = (n ln 2) / 128 + r, 2^(n/128) in two float32 parts, and a
    parabola in r.
    """
    steps = torch.round(x.double() * (STEPS / math.log(2)))
    rest = (x.double() - steps * (math.log(2) / STEPS)).float()
    power = torch.exp2(steps / STEPS)
    high = power.float()
    low = (power - high).float()
    return high + (low + high * (rest + rest * rest * 0.5))
