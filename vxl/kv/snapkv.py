"""The entries stay that the last tokens look at, head by head."""

from dataclasses import dataclass

from vxl.kv.scored.window import Shared, SharedConfig, WindowConfig, Windowed


@dataclass(frozen=True, kw_only=True)
class SnapKVConfig(WindowConfig, SharedConfig):
    """Of the video the entries stay that the question's last tokens attend to most, in every head its own."""

    _target_: str = "vxl.kv.snapkv.SnapKV"


class SnapKV(Shared, Windowed):
    """Score: mean attention of the last `window` tokens, over them and over the query heads of a key-value
    head, pooled over `kernel` neighbours; the observers are sure.

    SnapKV (arXiv 2404.14469, section 4). The authors' code has window 32, kernel 5 and mean pooling; kvpress
    window 64, kernel 5 and mean pooling, before the mean over query heads, which is the same. With
    `adaptive=true` the heads of a layer share its budget: Ada-KV (arXiv 2407.11550, section 4). kvpress
    counts the window in the budget, and in each head's `least` share; at the question it stays beside the
    budget here."""

    def __init__(self, config: SnapKVConfig) -> None:
        super().__init__(config)
