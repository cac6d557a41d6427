"""What every policy has that scores entries: its budget, what it protects, and when it acts."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from vxl.errors import ConfigError
from vxl.kv.budget import BudgetConfig
from vxl.option.option import option


@dataclass(frozen=True, kw_only=True)
class ScoredConfig(BudgetConfig):
    """What every policy has that scores entries and keeps the best."""

    budgets: ClassVar[tuple[str, ...]] = (*BudgetConfig.budgets, "layers")

    layers: dict[int, float] | None = option(None, later=True)  # noqa: RUF009 -- a field, not a value
    """Budget of each layer by itself, as a fraction of the watched tokens: {0: 0.5, 1: 0.25}."""
    of: Literal["all", "visual"] = option("all", later=True)
    """What `keep` is a fraction of: everything watched, what is protected included; or the visual tokens, and
    what is protected stays beside them."""
    protect: Literal["text", "sinks", "none"] = option("text", later=True)
    """What stays in any case, within the budget: text and time text; the first `sinks` tokens; or nothing."""
    sinks: int = option(4, later=True)
    """First tokens of a sequence, which attention often falls on whatever they say."""
    compact: bool = option(False, later=True)
    """Whether positions count the entries that stayed. Otherwise every entry keeps its own position."""
    decode_every: int | None = option(None, later=True)
    """Evict again after so many tokens of the answer, down to the budget of everything up to there; the
    question and the answer are protected like text. null: what was watched is not touched while answering."""
    at: Literal["chunks", "question", "finish"] = "chunks"
    """When: after each piece of the prefill; at the question, on its own fork, so that the next question
    chooses anew; or once, when watching ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for layer, keep in (self.layers or {}).items():
            if not 0 < keep <= 1:
                raise ConfigError(
                    f"layers={self.layers}: {keep} is no fraction (layer {layer}).\n  allowed: 0 < keep <= 1"
                )
        if self.sinks < 0:
            raise ConfigError(f"sinks={self.sinks} is no number of tokens.\n  allowed: 0 or more")
        if self.decode_every is not None and self.decode_every < 1:
            raise ConfigError(
                f"decode_every={self.decode_every} is no number of tokens.\n"
                "  allowed: 1 or more, or null\n  e.g.  decode_every=16"
            )
