"""Features of a frozen tower on disk, shared by all runs and evaluations that show it the same.

An entry is named by all that its numbers follow from: the pixels of the frames that are encoded at once, and
the tower with the precision and the device that it computes in. A tower whose weights change has other names.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vxl.store import Records, Store, Writing, using
from vxl.video.frame_cache import frames_kept

FORMAT = 1
UNNUMBERED = {"weights": "random", "slice": 1, "checkpointing": False, "recomputed": 1.0}
"""Settings of a tower that change no feature, or show in its weights."""


@dataclass(frozen=True)
class FeatureCache(Store):
    """Where features are kept."""

    suffix: ClassVar[str] = ".features"
    what: ClassVar[str] = "features"
    one: ClassVar[str] = "frames that are encoded at once"
    otherwise: ClassVar[str] = "the tower makes them each time"


@contextmanager
def features_kept(what: str, cache: str | Path, gib: float) -> Generator[None]:
    """Inside, frames and the features of frozen towers are kept where `what` says so.

    Args:
        what: "features" for both; "frames" for frames alone; or "none".
        cache: paths.cache.
        gib: Most gibibytes of each.
    """
    kept = FeatureCache(Path(cache).absolute() / "features", gib) if what == "features" else None
    with frames_kept(what, cache, gib), using(FeatureCache, kept):
        yield


@dataclass(frozen=True)
class KnownTower:
    """What the features of a tower follow from besides pixels, and what they are like."""

    state: tuple[Any, ...]
    """Of its weights and of the precision, told cheaply: if it is another, all of this is."""
    name: str
    shape: tuple[int, ...]
    """Of a frame's features: (P, V)."""
    dtype: torch.dtype

    def features(
        self, cache: FeatureCache, encode: Callable[[Tensor], Tensor], frames_FCHW: Tensor
    ) -> Tensor:
        """patches_FPV of frames that are encoded at once: those of the cache, or made and kept.

        Args:
            cache: Where they are looked for.
            encode: Makes them, where the tower is.
            frames_FCHW: uint8.
        """
        digest = blake2b(f"{FORMAT} {self.name} {len(frames_FCHW)}".encode(), digest_size=16)
        digest.update(frames_FCHW.cpu().contiguous().numpy())
        length = torch.Size(self.shape).numel() * self.dtype.itemsize
        records = Records(cache, digest.hexdigest(), len(frames_FCHW), length)
        mapped = records.find(range(records.count))
        if mapped is not None:
            bytes_ = torch.frombuffer(mapped, dtype=torch.uint8, count=records.count * length)
            return bytes_.view(self.dtype).view(-1, *self.shape)
        patches_FPV = encode(frames_FCHW)
        with Writing(records) as writing:
            for bytes_ in patches_FPV.detach().cpu().contiguous().flatten(1).view(torch.uint8):
                writing.add(memoryview(bytes_.numpy()))
            writing.finish()
        return patches_FPV


def known(
    tower: nn.Module, config: Any, encode: Callable[[Tensor], Tensor], before: KnownTower | None
) -> KnownTower:
    """What is known of a tower as it is now.

    Args:
        tower: Its weights are read where they are not those of before.
        config: Its settings, a dataclass.
        encode: Makes features of frames.
        before: What was known of it last.
    """
    tensors = [*tower.named_parameters(), *tower.named_buffers()]
    kind = tensors[0][1].device.type
    numerics = (
        torch.__version__,
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None,
        torch.get_float32_matmul_precision(),
        torch.cuda.get_device_name(tensors[0][1].device)
        if kind == "cuda"
        else (kind, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()),
    )
    state = (numerics, *((tensor.data_ptr(), tensor._version, tensor.dtype) for _, tensor in tensors))
    if before is not None and before.state == state:
        return before
    settings = replace(config, **UNNUMBERED)
    digest = blake2b(repr((settings, numerics)).encode(), digest_size=16)
    for name, tensor in tensors:
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    # What it makes of a drawn frame tells what no list of settings does: kernels, compilers, its own code.
    chance = torch.Generator().manual_seed(0)
    frame_1CHW = torch.randint(0, 256, (1, 3, config.size, config.size), generator=chance, dtype=torch.uint8)
    drawn_1PV = encode(frame_1CHW)
    digest.update(drawn_1PV.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return KnownTower(state, digest.hexdigest(), tuple(drawn_1PV.shape[1:]), drawn_1PV.dtype)
