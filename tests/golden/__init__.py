"""Golden tensors: recorded in float64 from the published code of each model, with tiny random weights.

README.md says what each file holds.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent
# Largest allowed |a - b| / (1 + |b|): some steps of the published code are float32 whatever the dtype.
TOLERANCE = {torch.float64: 2e-5, torch.float32: 2e-4}
DTYPES = [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)]
"""The quick suite measures in the precision that was recorded, the slow one in float32 too."""


def golden(name: str) -> dict[str, Tensor]:
    """The tensors of one file, such as `video_xl_2/stages`."""
    return load_file(FOLDER / f"{name}.safetensors")


def error(ours: Tensor, recorded: Tensor) -> float:
    """The largest |a - b| / (1 + |b|), which TOLERANCE bounds."""
    ours, recorded = ours.double().cpu(), recorded.double()
    assert ours.shape == recorded.shape
    return ((ours - recorded).abs() / (1 + recorded.abs())).max().item()
