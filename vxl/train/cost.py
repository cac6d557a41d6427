"""What a training costs, before any GPU is asked for: arithmetic, memory by part, GPU-hours, checkpoints."""

from dataclasses import dataclass, field

from vxl.compressor.base import plan
from vxl.errors import ConfigError
from vxl.train.config import TrainConfig
from vxl.train.peak import PeakMemory, peak_memory
from vxl.train.report.throughput import PEAKS, Flops, flops_of
from vxl.train.sizes import TrainingSizes, fed_tokens, most_frames, outlined_learner, training_sizes
from vxl.train.step.optimizer import update_flops
from vxl.train.step.train_step import TrainStep
from vxl.units import GIB, human_size, rounded

CARD_GIB = {"H100": 79.2, "H200": 139.8, "B200": 178.0, "A100": 79.2, "L40S": 44.4, "4090": 23.5}
"""Memory that PyTorch finds on a card, in GiB."""
MEASURED_MFU = {"lora": 0.427, "single": 0.361, "ddp": 0.339, "fsdp2": 0.335}
"""Share of an H100's peak that the 7B reached (experiments 040 and 050: LoRA on one card, all of it on one
and on two); a first guess for other sizes and cards."""


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic takes a step to be like."""

    tokens: float
    """Tokens of a row, visual and text."""
    frames: float
    """Frames of a row."""
    videos: int
    """Videos of a row: packed ones do not attend to each other."""
    mfu: float
    """Share of the card's peak that is reached."""
    card: str

    def __post_init__(self) -> None:
        if self.card not in CARD_GIB:
            raise ConfigError(f"card={self.card} is not known.\n  choose from: {', '.join(CARD_GIB)}")
        if not (self.tokens > 0 and self.frames >= 0 and 0 < self.mfu <= 1):
            raise ConfigError(
                f"tokens={self.tokens:g} frames={self.frames:g} mfu={self.mfu:g} describe no step.\n"
                "  allowed: tokens above 0, frames 0 or more, mfu above 0 up to 1"
            )


def assumed(
    config: TrainConfig,
    *,
    card: str = "H100",
    tokens: float | None = None,
    frames: float | None = None,
    mfu: float | None = None,
) -> Assumptions:
    """What is not said is taken as the most that a row may hold: `data.max_tokens`, and `most_frames`."""
    tokens = float(config.data.max_tokens) if tokens is None else tokens
    frames = float(most_frames(config, tokens)) if frames is None else frames
    videos = max(1, int(tokens // fed_tokens(config, config.video.max_frames))) if config.data.packing else 1
    if mfu is None:
        kind = "lora" if config.llm.lora.rank else config.strategy.name
        mfu = MEASURED_MFU.get(kind, MEASURED_MFU["fsdp2"])
    return Assumptions(tokens, frames, videos, mfu, card)


@dataclass(frozen=True)
class TrainingCost:
    """What a training costs under assumptions."""

    config: TrainConfig
    assumed: Assumptions
    sizes: TrainingSizes
    peak: PeakMemory
    """Of a process."""
    flops: Flops
    seen: TrainStep = field(repr=False)
    """What a micro-batch is made of: that of a process, or of those that share rows."""
    update: float = 0.0
    """Operations of the optimizer, beyond a few a weight."""

    @classmethod
    def of(cls, config: TrainConfig, under: Assumptions) -> "TrainingCost":
        """Counts on the meta device, where a model of any size takes no memory."""
        model = outlined_learner(config)
        sizes = training_sizes(config, model)
        rows, shape = config.data.batch, plan(config.compressor, config.vision.grid)
        visual = under.frames / shape.frames_per_group * shape.tokens_per_group
        a_step = TrainStep(
            frames=round(rows * under.frames),
            visual_tokens=round(rows * visual),
            tokens=round(rows * under.tokens),
            llm_tokens=round(rows * under.tokens),
            pairs=round(rows * under.tokens * (under.tokens / under.videos + 1) / 2),
            supervised=round(rows * max(0.0, under.tokens - fed_tokens(config, under.frames))),
        )
        return cls(
            config,
            under,
            sizes,
            peak_memory(
                config,
                sizes,
                model,
                tokens=under.tokens,
                frames=under.frames,
                supervised=a_step.supervised / rows,
            ),
            flops_of(model, PEAKS[under.card]),
            a_step,
            update_flops(model, config.optim),
        )

    @property
    def ranks(self) -> int:
        """Processes, one a GPU."""
        return self.config.trainer.devices * self.config.trainer.num_nodes

    @property
    def step_flops(self) -> dict[str, float]:
        """Operations of a step by part, of one process."""
        each = self.flops.by_part(self.seen)
        micro_batches = self.config.trainer.accumulate / self.config.strategy.context
        accumulated = {part: work * micro_batches for part, work in each.items()}
        return accumulated | ({"optimizer": self.update} if self.update else {})

    @property
    def step_seconds(self) -> float:
        """Of a step, at the assumed share of the peak."""
        return sum(self.step_flops.values()) / (self.flops.peak * self.assumed.mfu)

    @property
    def gpu_hours(self) -> float:
        """Of the whole training, without validation and saving."""
        return self.step_seconds * self.config.trainer.max_steps * self.ranks / 3600

    @property
    def fits(self) -> bool:
        """Whether that is less than the card has."""
        return self.peak.total < CARD_GIB[self.assumed.card] * GIB

    @property
    def step_tokens(self) -> int:
        """Tokens of a step, over all processes."""
        ranks = self.ranks // self.config.strategy.context
        return self.seen.tokens * self.config.trainer.accumulate * ranks

    def rows(self) -> list[tuple[str, str]]:
        """What is said of it: (what, its value)."""
        under, config = self.assumed, self.config
        parts = ", ".join(f"{part} {rounded(work / 1e12)}" for part, work in self.step_flops.items() if work)
        total = sum(self.step_flops.values())
        return [
            ("trained", f"{self.sizes.trained:,} of {self.sizes.total:,} parameters"),
            (
                "a step",
                f"{self.step_tokens:,} tokens on {self.ranks} x {under.card}; a row has "
                f"{under.tokens:,.0f} tokens and {under.frames:,.0f} frames"
                + (f" in {under.videos} videos" if under.videos > 1 else "")
                + f"; {config.data.batch} x {config.trainer.accumulate} rows "
                + ("a GPU" if config.strategy.context == 1 else f"for every {config.strategy.context} GPUs"),
            ),
            ("arithmetic", f"{rounded(total / 1e12)} TFLOP a GPU and step: {parts}"),
            (
                "memory",
                f"about {human_size(self.peak.total)} a GPU at its busiest moment: {self.peak}",
            ),
            (
                "fits",
                f"{'yes' if self.fits else 'no'}, a card has {CARD_GIB[under.card]:.0f} GiB"
                + ("" if self.fits else self._remedy),
            ),
            ("time", f"{rounded(self.step_seconds)} s a step at {100 * under.mfu:.3g} % of the card's peak"),
            ("in all", f"{rounded(self.gpu_hours)} GPU-hours for {config.trainer.max_steps:,} steps"),
            ("checkpoint", human_size(self.sizes.checkpoint_bytes)),
        ]

    @property
    def _remedy(self) -> str:
        """What makes the largest part smaller."""
        state = self.peak.weights + self.peak.moments + self.peak.gradients
        if self.peak.activations > state:
            fewer = "data.batch=1, " if self.config.data.batch > 1 else "fewer data.max_tokens, "
            return f"; e.g.  {fewer}llm.checkpointing=true vision.checkpointing=true"
        if self.sizes.shares == 1 and self.ranks > 1:
            return "; spread it:  strategy=fsdp2"
        return "; e.g.  stage=lora trainer.frozen=bf16, or more GPUs and  strategy=fsdp2"
