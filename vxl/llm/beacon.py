"""Beacons: learned tokens that stand in for the visual tokens before them (Video-XL, arXiv 2409.14485).

A beacon (the paper's visual summarization token) is one learned embedding, and in every layer it has
projections of its own beside the ordinary ones. Where the beacons of a pass stand is the step's to say
(`Step.beacons`), so the same weights serve any decoder of transformers, with beacons and without.

A projection keeps its class and its weight's name and gains a child, `q_proj.beacon`: so weights without
beacons fit as they are, and LoRA's updates stay where they were.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vxl.errors import ConfigError

Letter = Literal["q", "k", "v", "o", "mlp"]
PROJECTIONS: dict[str, tuple[str, ...]] = {
    "q": ("self_attn.q_proj",),
    "k": ("self_attn.k_proj",),
    "v": ("self_attn.v_proj",),
    "o": ("self_attn.o_proj",),
    "mlp": ("mlp.up_proj", "mlp.down_proj"),
}
"""The linear layers of a block that each letter of `kv.projections` means; the MLP's gate is shared."""

# Where the beacons of the block stand that is running: its projections see nothing but their input.
_BEACONS: ContextVar[Tensor | None] = ContextVar("beacons", default=None)


class BeaconLinear(nn.Linear):
    """The weights that a linear layer has for beacons; not initialised until `start_from`.

    Args:
        ordinary: The layer.
    """

    def __init__(self, ordinary: nn.Linear) -> None:
        with torch.device("meta"):  # random numbers would be drawn for nothing
            super().__init__(ordinary.in_features, ordinary.out_features, bias=ordinary.bias is not None)
        self.to(ordinary.weight.dtype).to_empty(device=ordinary.weight.device)

    def start_from(self, ordinary: nn.Linear) -> None:
        """Copies the ordinary layer's weights."""
        with torch.no_grad():
            self.weight.copy_(ordinary.weight)
            if ordinary.bias is not None:
                self.bias.copy_(ordinary.bias)


def give_beacons(body: Any, letters: Sequence[Letter]) -> None:
    """Gives every block of a transformers decoder projections for beacons, in place.

    Args:
        body: The decoder without its output layer; its blocks are `layers`.
        letters: Which projections.

    Raises:
        ConfigError: The decoder's blocks have no such linear layers.
    """
    for block in body.layers:
        for name in [name for letter in letters for name in PROJECTIONS[letter]]:
            path, _, leaf = name.rpartition(".")
            linear = getattr(getattr(block, path, None), leaf, None)
            if not isinstance(linear, nn.Linear):
                raise ConfigError(
                    f"llm: {type(block).__name__} has no linear layer {name}, which beacons need.\n"
                    "  allowed with kv=vst: decoders with q_proj, k_proj, v_proj, like Qwen2, Qwen3 and Llama"
                )
            linear.add_module("beacon", BeaconLinear(linear))
            linear.register_forward_hook(_put_beacons)
        block.self_attn.register_forward_pre_hook(_note_beacons, with_kwargs=True)


def with_beacons(model: nn.Module) -> list[tuple[str, nn.Linear, BeaconLinear]]:
    """All layers that have weights for beacons: (name, the layer, its child)."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    children = [(name, layer, getattr(layer, "beacon", None)) for name, layer in layers]
    return [(name, layer, own) for name, layer, own in children if isinstance(own, BeaconLinear)]


def hooked_by_others(module: nn.Module) -> bool:
    """Whether something other than beacons hooks into a module's forward."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return any(hook not in (_put_beacons, _note_beacons) for hook in hooks)


def is_of_beacon(name: str) -> bool:
    """Whether a parameter of a model is one of the beacons', by its name."""
    return ".beacon." in name or name.endswith(".beacon")


def _note_beacons(attention: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    """Before a block's attention, which is the first to ask and the only one that is handed the step.

    Activation checkpointing runs it again, as it would not run hooks of the block itself.
    """
    _note_untraced(kwargs["step"].beacons)


def _put_beacons(layer: nn.Linear, args: tuple[Tensor], out: Tensor) -> Tensor:
    """Puts the beacons' outputs in their places: [B, T, out]."""
    places = _noted()
    if places is None:
        return out
    own = layer.get_submodule("beacon")(args[0].flatten(0, 1).index_select(0, places)).to(out.dtype)
    rows = out.flatten(0, 1)
    copy = rows.index_copy if torch.is_grad_enabled() else rows.index_copy_
    return copy(0, places, own).view_as(out)


def note(places: Tensor | None) -> None:
    """Says where the beacons stand of the layers that run next; not to be called in a compiled block."""
    _BEACONS.set(places)


# torch.compile knows no context variables: a compiled block calls these as they are. `torch.compiler.disable`
# would import torch._dynamo here, 2 s before any answer of any command; torch's own does at its first call.
_note_untraced = torch._disable_dynamo(note)


@torch._disable_dynamo
def _noted() -> Tensor | None:
    return _BEACONS.get()
