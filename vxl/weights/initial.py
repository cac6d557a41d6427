"""The random numbers that a part's weights start from: of the part's own seed, in its own precision."""

import zlib
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FILLS = {"normal_", "uniform_", "trunc_normal_"}


@contextmanager
def building(part: str, seed: int, device: torch.device, dtype: torch.dtype | None) -> Generator[None]:
    """Sets device, precision and the part's own seed, and puts all of them back.

    Convolutions in float32 compute in float32 from here on, see `vxl.model.build_model`. On the meta device
    nothing is drawn.
    """
    torch.backends.cudnn.allow_tf32 = False  # matrix products are exact by default, convolutions are not
    before = torch.get_default_dtype()
    undrawn = _Undrawn() if device.type == "meta" else nullcontext()
    with torch.random.fork_rng([device] if device.type == "cuda" else []), device, undrawn:
        torch.manual_seed(zlib.crc32(f"{seed}/{part}".encode()))
        torch.set_default_dtype(dtype or before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


class _Undrawn(TorchFunctionMode):
    """Leaves tensors as they are where they would be filled with random numbers: of tensors without memory
    PyTorch would first import its compiler, for a second and more."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLS:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)
