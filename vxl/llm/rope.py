"""Rotary positions, applied by us: keys are stored un-rotated and turned to where a step says they stand."""

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vxl.errors import ConfigError

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PretrainedConfig

# Kinds of RoPE whose frequencies do not change while a sequence grows. (`dynamic` and `longrope` depend on
# its length, so that keys of one cache would follow different frequencies.)
STATIC = ("default", "linear", "llama3", "yarn")


class Rotary:
    """The rotation of a language model's queries and keys.

    transformers rotates with positions of zero here, which only applies a constant scale (yarn); the rotation
    itself is ours. Frequencies and angles are float32 like theirs, whatever the model's precision.

    Args:
        config: A transformers config of a decoder.

    Raises:
        ConfigError: The model's positions are not a static rotation of whole heads in two halves.
    """

    def __init__(self, config: "PretrainedConfig") -> None:
        parameters = getattr(config, "rope_parameters", None) or {}
        refuse_unsupported(config, parameters)
        self.tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        kind = parameters.get("rope_type", "default")
        if kind == "default":
            width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            exponent = torch.arange(0, width, 2, dtype=torch.float32, device="cpu") / width
            self.frequencies = 1.0 / (parameters["rope_theta"] ** exponent)
        else:
            # late: transformers takes a second
            from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

            with torch.device("cpu"):
                self.frequencies = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))[0].float()

    def angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine for positions [...]: two tensors [..., H] of `dtype`."""
        if self.frequencies.device != positions.device:
            self.frequencies = self.frequencies.to(positions.device)
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def half_angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine [..., H / 2]: both halves of a head turn by the same angles."""
        if self.frequencies.device != positions.device:
            self.frequencies = self.frequencies.to(positions.device)
        angles = positions[..., None].float() * self.frequencies
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def table(self, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the positions 0 to `length` - 1 at least, [P, H / 2]; kept for the next step."""
        table = self.tables.get((device, dtype))
        if table is None or len(table[0]) < length:
            positions = torch.arange(max(1024, 1 << (length - 1).bit_length()), device=device)
            table = self.tables[device, dtype] = self.half_angles(positions, dtype)
        return table

    def turn(self, keys_BNSH: Tensor, positions_BNS: Tensor) -> Tensor:
        """Rotates un-rotated keys to their positions; positions broadcast over heads."""
        return rotate(keys_BNSH, *self.angles(positions_BNS, keys_BNSH.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (i, i + H/2) of the last axis; `cos` and `sin` broadcast against `x`."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def refuse_unsupported(config: "PretrainedConfig", parameters: dict[str, Any]) -> None:
    """Raises where our rotation would not be the model's own."""
    name = getattr(config, "model_type", "?")
    kind = parameters.get("rope_type", "default")
    partial = parameters.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    problem = None
    if not parameters or any(isinstance(value, dict) for value in parameters.values()):
        problem = "has no rotary positions, or several kinds of them"
    elif kind not in STATIC:
        problem = f"has RoPE of kind {kind!r}, whose frequencies change with the length"
    elif "mrope_section" in parameters:
        problem = "has multimodal RoPE (mrope_section)"
    elif partial not in (None, 1, 1.0):
        problem = f"rotates only {partial} of each head"
    elif layers != {"full_attention"}:
        problem = f"has layers of kind {sorted(layers - {'full_attention'})}"
    if problem:
        raise ConfigError(
            f"llm: model_type={name} {problem}.\n"
            f"  allowed: positions of kind {', '.join(STATIC)} on whole heads, full attention everywhere\n"
            "  e.g.  llm=qwen2_5_7b, or any Qwen2, Qwen3 or Llama by  llm.weights=NAME_OR_FOLDER"
        )


def check_layout(model: Any, rotary: Rotary) -> None:
    """Raises where a model's own rotation pairs other channels than ours (interleaved, say).

    Compares both on one head; takes microseconds.
    """
    theirs = getattr(sys.modules[type(model).__module__], "apply_rotary_pos_emb", None)
    width = 2 * len(rotary.frequencies)
    with torch.device("cpu"):
        cos, sin = rotary.angles(torch.tensor([[3]], device="cpu"), torch.float32)
        probe = torch.linspace(-1, 1, width, device="cpu").reshape(1, 1, 1, width)
        same = False
        if theirs is not None:
            theirs_out = theirs(probe, probe, cos, sin)[1]
            same = theirs_out.shape == probe.shape and torch.allclose(
                theirs_out, rotate(probe, cos, sin), atol=1e-6
            )
    if not same:
        raise ConfigError(
            f"llm: {type(model).__name__} rotates its heads in a layout of its own.\n"
            "  allowed: models that rotate pairs (i, i + half), like Qwen2, Qwen3 and Llama"
        )
