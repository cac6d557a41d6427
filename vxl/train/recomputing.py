"""`llm.recomputed=auto`: as few blocks are recomputed as fit into the memory that is free, by arithmetic."""

from dataclasses import dataclass, replace

import torch

from vxl.distributed import gathered
from vxl.llm.config import with_own_sizes
from vxl.memory import free_memory
from vxl.train.config import TrainConfig
from vxl.train.peak import peak_memory
from vxl.train.sizes import most_frames, outlined_learner, training_sizes
from vxl.train.step.micro_batch import largest_that_fits
from vxl.units import human_size

ROOM = 0.75
"""Share of the free memory that is planned with. The arithmetic is up to a tenth off; and near a card's end,
where its allocator has to wait, a step is slower than with more blocks recomputed (experiments/050)."""


@dataclass(frozen=True)
class Recomputing:
    """How many of the language model's blocks are recomputed, and why."""

    blocks: int
    layers: int
    needed: float
    """Bytes of a process at the busiest moment of a step."""
    room: float | None
    """Bytes that are planned with; None where it is not known what is free."""

    def settle(self, config: TrainConfig) -> TrainConfig:
        """The config with that in the place of `auto`."""
        return replace(config, llm=replace(config.llm, recomputed=self.blocks / self.layers))

    def __str__(self) -> str:
        said = f"recomputes {self.blocks} of {self.layers} blocks: {human_size(self.needed)}"
        if self.room is None:
            return f"{said}; what is free is not known here"
        of = f"{said} of {human_size(self.room)}, {100 * ROOM:.0f} % of what is free"
        return of if self.needed <= self.room else f"{of}, which is too little by this arithmetic"


def decide(
    config: TrainConfig, free: float | None, *, tokens: float | None = None, frames: float | None = None
) -> Recomputing | None:
    """Decides what `llm.recomputed=auto` leaves open; None where it is not `auto`, or no such blocks are run.

    Args:
        config: A checked config.
        free: Bytes that are free for a process; None: not known, and all blocks are recomputed.
        tokens: Of a row; None: as many as it may have.
        frames: Of a row; None: as many as fit.
    """
    if config.llm.recomputed != "auto" or config.stage.objective != "language":
        return None
    model = outlined_learner(config)
    sizes, layers = training_sizes(config, model), with_own_sizes(config.llm).layers
    tokens = float(config.data.max_tokens) if tokens is None else tokens
    frames = float(most_frames(config)) if frames is None else frames
    room = None if free is None else ROOM * free

    def with_blocks(blocks: int) -> Recomputing:
        settled = Recomputing(blocks, layers, 0.0, room).settle(config)
        peak = peak_memory(settled, sizes, model, tokens=tokens, frames=frames, supervised=tokens)
        return Recomputing(blocks, layers, peak.total, room)

    def fits(kept: int) -> bool:
        return room is not None and with_blocks(layers - kept).needed <= room

    # Without any there is no block whose activations come twice, so it may fit where one does not.
    kept = layers if fits(layers) else largest_that_fits(range(layers), fits)
    return with_blocks(layers - (kept or 0))


def free_for_a_process(config: TrainConfig, device: torch.device) -> int | None:
    """Bytes that are free for a process of a run; None where the system does not say.

    On a CPU the processes of a machine share them.
    """
    free = free_memory(device)
    return free // config.trainer.devices if free is not None and device.type == "cpu" else free


def least_free(config: TrainConfig, device: torch.device) -> int | None:
    """The least that is free for any rank's process; all ranks ask together."""
    free = gathered(free_for_a_process(config, device))
    known = [each for each in free if each is not None]
    return min(known) if len(known) == len(free) else None
