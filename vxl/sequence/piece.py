"""A piece of a sequence on its way through the prefill."""

from dataclasses import dataclass

from torch import Tensor

from vxl.sequence.layout import Layout


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive tokens on their way into the model."""

    embeds_BTD: Tensor
    layout: Layout
    valid_BT: Tensor | None = None
    """Real tokens (padding stands on the right); None = all."""
    host: Layout | None = None
    """The layout in the host's memory, if there is a copy: reading it does not synchronise with a device."""

    @property
    def on_host(self) -> Layout:
        """The layout in the host's memory."""
        return self.layout.to("cpu") if self.host is None else self.host

    def part(self, start: int, stop: int) -> "Piece":
        """Columns [start, stop)."""
        return Piece(
            self.embeds_BTD[:, start:stop],
            self.layout.slice(start, stop),
            None if self.valid_BT is None else self.valid_BT[:, start:stop],
            None if self.host is None else self.host.slice(start, stop),
        )
