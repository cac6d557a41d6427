"""Small decoders, and the same ones as plain transformers runs them."""

from typing import Any

import torch
from torch import Tensor

from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder, DecoderConfig, hugging_face_config
from vxl.llm.lora import is_update, merged_weight, updated

FAMILIES = ("qwen2", "llama", "qwen3")


def decoder(model_type: str = "qwen2", seed: int = 0, **settings: Any) -> Decoder:
    sizes: dict[str, Any] = {"vocab": 97, "width": 48, "mlp": 64, "layers": 3, "heads": 4, "kv_heads": 2}
    torch.manual_seed(seed)
    llm = Decoder(DecoderConfig(model_type=model_type, **(sizes | settings))).eval()
    with torch.no_grad():  # random biases and norms, and scores that are not flat
        for name, parameter in llm.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.mul_(4.0)
    return llm


def reference(llm: Decoder) -> Any:
    """The plain transformers model with the same weights."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(hugging_face_config(llm.config), attn_implementation="eager")
    model.load_state_dict(llm.causal_lm.state_dict())
    return model.to(next(llm.parameters()).dtype).eval()


def without_updates(llm: Decoder, scale: float) -> dict[str, Tensor]:
    """A decoder's weights with LoRA's updates added in, under the names of a decoder without."""
    state = llm.state_dict()
    base = {name: value for name, value in state.items() if not is_update(name)}
    for name in updated(state):
        layer = name.removesuffix("weight")
        base[name] = merged_weight(state[name], state[f"{layer}lora_A"], state[f"{layer}lora_B"], scale)
    return base


def tokens(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 97, (rows, width), generator=torch.Generator().manual_seed(seed))


def plain(llm: Decoder, tokens_BT: Tensor, **step: Any) -> Tensor:
    """Logits of a pass without a cache."""
    positions = step.pop("positions_BT", torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT))
    return llm.logits(llm(llm.embed(tokens_BT), llm.step(positions, **step)))


def fed(llm: Decoder, cache: Cache, tokens_BT: Tensor, **settings: Any) -> Tensor:
    """Logits of tokens that go into a cache."""
    return llm.logits(llm.extend(llm.embed(tokens_BT), cache, **settings))
