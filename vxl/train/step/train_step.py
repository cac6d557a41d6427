"""What one optimizer step saw and did, of a micro-batch and over all ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vxl.data.batch.collate import Batch
from vxl.data.sample import BadSample
from vxl.model import TrainOutput
from vxl.sequence.layout import causal_pairs


@dataclass
class TrainStep:
    """What one optimizer step saw and did."""

    loss: float = 0.0
    """Mean over the supervised tokens of the global batch."""
    grad_norm: float = 0.0
    """Norm of the gradient of all parts together, before clipping."""
    part_norms: dict[str, float] = field(default_factory=dict)
    """The same of each part that learns."""
    rates: dict[str, float] = field(default_factory=dict)
    """Learning rate by part."""
    samples: int = 0
    tokens: int = 0
    """Tokens of the sequences, visual ones too, padding not."""
    visual_tokens: int = 0
    frames: int = 0
    llm_tokens: int = 0
    """Tokens that went through the language model: without those that were dropped before, with beacons."""
    pairs: int = 0
    """Pairs of a token and a key that it sees: what attention works on."""
    supervised: int = 0
    answers: list[bool] = field(default_factory=list)
    """Whether each multiple-choice question in the batch was answered rightly (before the update)."""
    drawn: dict[str, float] = field(default_factory=dict)
    """What the model drew or measured (`TrainOutput.numbers`), summed over micro-batches."""
    bad: list[BadSample] = field(default_factory=list)
    """Samples that could not be read."""
    micro_batches: int = 0
    """Micro-batches of a rank: the gradient accumulation."""

    def count(self, batch: Batch, output: TrainOutput) -> None:
        """Adds a micro-batch and what came of it."""
        self.samples += len(batch.keys)
        self.tokens += batch.tokens
        self.llm_tokens += batch.tokens if output.tokens is None else output.tokens
        self.pairs += causal_pairs(batch.layout.document_BT) if output.pairs is None else output.pairs
        self.visual_tokens += batch.visual_tokens
        self.frames += batch.frames
        self.bad += batch.bad


def over_all_ranks(steps: Sequence[TrainStep]) -> TrainStep:
    """What all ranks together saw in one step; its loss is still a sum.

    Args:
        steps: What each rank saw.
    """
    whole = replace(steps[0], answers=[], bad=[])
    for name in ("loss", "samples", "tokens", "llm_tokens", "visual_tokens", "frames", "pairs", "supervised"):
        setattr(whole, name, sum(getattr(step, name) for step in steps))
    for step in steps:
        whole.answers += step.answers
        whole.bad += step.bad
    whole.drawn = {name: sum(s.drawn[name] for s in steps) / len(steps) for name in steps[0].drawn}
    return whole
