"""The MLP from the tower's width into the language model's (`mlp2x_gelu` of the family)."""

from torch import nn


class Projector(nn.Sequential):
    """Linear, exact GELU, Linear: parameters `0.*` and `2.*`, as the published models name them."""

    def __init__(self, vision_width: int, llm_width: int) -> None:
        super().__init__(nn.Linear(vision_width, llm_width), nn.GELU(), nn.Linear(llm_width, llm_width))
