"""What every vision tower is: uint8 frames in, patch features out, in slices of constant memory."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vxl.distributed import calls_on_every_rank, is_sharded
from vxl.errors import ConfigError, DataError
from vxl.option.option import Option, option
from vxl.store import in_use
from vxl.video.transform import PixelSpec, normalise
from vxl.vision.feature_cache import FeatureCache, KnownTower, known
from vxl.weights.fp8 import Fp8, hold_in_fp8


@dataclass(frozen=True, kw_only=True)
class VisionConfig(Option):
    """A vision tower: its weights, what it wants its pixels to be, and how it is run."""

    weights: str = "random"
    """`random`, or a `transformers` checkpoint of the architecture: a hub name or the path of a folder."""
    size: int = 384
    """Side of a frame in pixels, as the tower takes it."""
    patch: int = 14
    """Side of a patch in pixels."""
    width: int = 1152
    """Width of a patch's features."""
    slice: int = 64
    """Frames encoded at once; bounds the memory and leaves the numbers alone."""
    checkpointing: bool = False
    """Recompute blocks in the backward pass: slower, far less memory where the tower learns."""
    recomputed: float = option(1.0, resumable=True)
    """Share of the blocks that checkpointing recomputes, the first ones; the rest keep their activations."""
    fp8: Fp8 = option(False, later=True)  # noqa: RUF009 -- a field, not a value
    """Linear layers of the blocks in float8, weights and what enters them: true, on a GPU that multiplies in
    it (compute capability 8.9); emulated, the same numbers without its speed, anywhere. Not for a tower that
    learns."""

    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    resize: ClassVar[Literal["squash", "shortest_crop"]] = "squash"

    def __post_init__(self) -> None:
        """Checks what the base promises: at least one patch, at least one frame a slice."""
        if not 0 < self.patch <= self.size:
            raise ConfigError(
                f"patch={self.patch} does not fit size={self.size}.\n  allowed: 1 to {self.size}"
            )
        if not 0 <= self.recomputed <= 1:
            raise ConfigError(f"recomputed={self.recomputed} is no share of the blocks.\n  expected: 0 to 1")
        if self.slice < 1:
            raise ConfigError(f"slice={self.slice} encodes no frame.\n  allowed: 1 or more\n  e.g.  slice=64")

    @property
    def grid(self) -> int:
        """Patches a side; pixels that fill no patch are left out at the right and at the bottom."""
        return self.size // self.patch

    @property
    def pixels(self) -> PixelSpec:
        """What the tower wants its pixels to be."""
        return PixelSpec(size=self.size, mean=self.mean, std=self.std, resize=self.resize)


class VisionEncoder(nn.Module):
    """Base of the towers. A tower gives `encode`; the base checks, normalises and slices.

    Attributes:
        width: V, the width of a patch's features.
        grid: Patches a side.
        patches: P, the patches a frame gives (`grid` squared, and one more where a class token is kept).
        pixels: What frames must be before they come here.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.grid = config.grid
        self.patches = config.grid**2
        self.pixels = config.pixels
        self._known: KnownTower | None = None

    def forward(self, frames_FCHW: Tensor, visuals: Sequence[int] = ()) -> Tensor:
        """Features of every patch.

        Args:
            frames_FCHW: uint8 RGB at the tower's size, on any device; each slice travels to the tower's.
            visuals: How many frames each visual has. Where features are kept no slice has frames of two, so
                that a visual is found again whatever else is in the batch.

        Returns:
            patches_FPV, in the tower's dtype and on its device.

        Raises:
            DataError: The frames are of another size or type.
        """
        self._check(frames_FCHW)
        place = next(self.parameters())
        # A tower in a lower precision gains nothing from autocast, which would run its norms in float32.
        lower = place.dtype in (torch.bfloat16, torch.float16)
        # Pixels have no gradients, so a frozen tower may run as at inference, through its fused paths.
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        plain = torch.autocast(place.device.type, enabled=False) if lower else nullcontext()
        with plain, torch.set_grad_enabled(learns):
            # A sharded tower is called by all ranks together, whatever each of them has kept.
            alone = not learns and len(frames_FCHW) > 0 and not is_sharded(self)
            cache = in_use(FeatureCache) if alone else None
            return self._sliced(frames_FCHW, place, cache, visuals)

    def _sliced(
        self, frames_FCHW: Tensor, place: Tensor, cache: FeatureCache | None, visuals: Sequence[int]
    ) -> Tensor:
        def encode(part_FCHW: Tensor) -> Tensor:
            return self.encode(normalise(part_FCHW.to(place.device), self.pixels, place.dtype))

        features, each = encode, [frames_FCHW]
        if cache is not None:
            self._known = known(self, self.config, encode, self._known)
            features = partial(self._known.features, cache, encode)
            each = frames_FCHW.split(list(visuals)) if visuals else each
        slices = [part for frames in each for part in frames.split(self.config.slice)]
        # Where the tower is sharded, all ranks encode as many slices: blank frames, which are cut off again.
        blank = frames_FCHW.new_zeros(1, *frames_FCHW.shape[1:])
        slices += [blank] * (calls_on_every_rank(len(slices), self) - len(slices))
        encoded = (features(part).to(place.device) for part in slices)
        if len(slices) == 1:
            return next(encoded)
        if torch.is_grad_enabled():
            return torch.cat(list(encoded))[: len(frames_FCHW)]
        # Filled in place: concatenation would hold all features twice.
        filled: Tensor | None = None
        start = 0
        for part in encoded:
            if filled is None:
                filled = part.new_empty(len(frames_FCHW), *part.shape[1:])
            wanted = part[: len(frames_FCHW) - start]
            filled[start : start + len(wanted)] = wanted
            start += len(wanted)
        assert filled is not None
        return filled

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks that a frame passes one after the other, for sharding and compiling: the members of the
        longest list of modules."""
        lists = [module for module in self.modules() if isinstance(module, nn.ModuleList)]
        return list(max(lists, key=len, default=()))

    def to_fp8(self) -> None:
        """Makes the blocks' linear layers what `config.fp8` says; once they have their weights."""
        if self.config.fp8:
            hold_in_fp8(self.blocks, "vision.fp8", emulated=self.config.fp8 == "emulated")

    @abstractmethod
    def encode(self, pixels_FCHW: Tensor) -> Tensor:
        """patches_FPV of one slice of normalised frames."""

    def load_pretrained(self) -> None:
        """Fills the tower from `config.weights`; with `random` it stays as it was initialised."""

    def _check(self, frames_FCHW: Tensor) -> None:
        size = self.pixels.size
        if frames_FCHW.dtype != torch.uint8 or frames_FCHW.shape[1:] != (3, size, size):
            raise DataError(
                f"the vision tower got frames of {tuple(frames_FCHW.shape[1:])} {frames_FCHW.dtype}.\n"
                f"  expected: (3, {size}, {size}) torch.uint8\n"
                "  resize them first: vxl.video.transform.resize_FCHW(frames_FCHW, vision.pixels)"
            )
