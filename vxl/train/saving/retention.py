"""Which checkpoints are written, and which of them stay."""

from dataclasses import dataclass
from typing import Literal

from vxl.errors import ConfigError
from vxl.option.option import option


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    """When to save, and what to keep. The last step is always saved, the newest checkpoint always kept."""

    every: int = option(500, resumable=True)
    """Optimizer steps between checkpoints; 0: only at the end."""
    keep_last: int = option(2, resumable=True)
    """How many of the newest checkpoints stay."""
    background: bool = option(False, resumable=True)
    """Write checkpoints while training goes on: a step then waits only until the weights are copied to the
    CPU's memory, which must have room for them. The next checkpoint waits for the last."""
    best: str | None = option("val/loss", resumable=True)
    """Metric by which one more checkpoint stays, beside the newest; null: none."""
    mode: Literal["min", "max"] = option("min", resumable=True)
    """Whether less or more of that metric is better."""

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"every={self.every} is too small.\n  expected: 0 (only at the end) or more")
        if self.keep_last < 1:
            raise ConfigError(
                f"keep_last={self.keep_last} would leave nothing to resume from.\n  expected: 1 or more"
            )


def steps_to_keep(steps: list[int], scores: dict[int, float], config: RetentionConfig) -> set[int]:
    """The steps whose checkpoints stay.

    Args:
        steps: Steps of the complete checkpoints.
        scores: The metric `config.best` at those of them where it was measured.
        config: The rule.
    """
    newest = sorted(steps)[-config.keep_last :]
    return {*newest, *([best] if (best := best_step(steps, scores, config)) is not None else [])}


def best_step(steps: list[int], scores: dict[int, float], config: RetentionConfig) -> int | None:
    """The step with the best score (the earliest of equals), or None if none of them was measured."""
    scored_steps = sorted(step for step in steps if step in scores)
    if config.best is None or not scored_steps:
        return None
    choose = min if config.mode == "min" else max
    return choose(scored_steps, key=lambda step: scores[step])
