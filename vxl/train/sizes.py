"""What a training needs: parameters by part, which of them learn, and the memory that they take."""

from dataclasses import dataclass

from vxl.llm.config import DecoderConfig
from vxl.llm.packed import PACKINGS
from vxl.train.config import TrainConfig
from vxl.train.step.learner import build_learner
from vxl.train.step.stage import freeze, part_of

# Bytes of a trained parameter with its gradient and AdamW's two moments, each in the parameter's precision.
TRAINED_BYTES = {"32-true": 16, "bf16-mixed": 16, "bf16-true": 8, "64-true": 32}
SAME_BYTES = {"32-true": 4.0, "bf16-mixed": 4.0, "bf16-true": 2.0, "64-true": 8.0}
# nf4 keeps a scale of 32 bits for 64 weights, itself held in 8 bits: 0.127 bits a weight (QLoRA, section 3).
PACKED_BYTES = {"int8": 1.0, "nf4": 0.5 + 0.127 / 8}


@dataclass(frozen=True)
class TrainingSizes:
    """Parameters of a learner, and the memory of weights, gradients and optimizer."""

    parameters: dict[str, int]
    """By part."""
    learning: dict[str, int]
    """Those that learn, by part."""
    total_bytes: int
    """Of one copy of the model with its gradients and moments."""
    bytes_a_process: int
    """What each process holds of it: all, or its share under FSDP. Activations come on top."""

    @property
    def trained(self) -> int:
        """Parameters that learn."""
        return sum(self.learning.values())

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


def training_sizes(config: TrainConfig) -> TrainingSizes:
    """Counts on the meta device, where a model of any size takes no memory."""
    model = build_learner(config, device="meta", pretrained=False, outlined=True)
    freeze(model, config.stage)
    frozen, precision = config.trainer.frozen, config.trainer.precision
    parameters: dict[str, int] = {}
    learning: dict[str, int] = {}
    memory = 0.0
    for name, parameter in model.named_parameters():
        part, count = part_of(name), parameter.numel()
        parameters[part] = parameters.get(part, 0) + count
        learning[part] = learning.get(part, 0) + count * parameter.requires_grad
        if parameter.requires_grad:
            memory += count * TRAINED_BYTES[precision]
        elif frozen in PACKINGS and _is_packed(name, config.llm):
            memory += count * PACKED_BYTES[frozen]
        else:
            memory += count * (SAME_BYTES[precision] if frozen == "same" else 2.0)
    ranks = config.trainer.devices * config.trainer.num_nodes
    strategy = config.strategy._target_.rpartition(".")[2].lower()
    shares = 1
    if strategy.startswith("fsdp2"):
        shares = ranks
    elif strategy == "hsdp":
        shares = getattr(config.strategy, "shard", None) or config.trainer.devices
    return TrainingSizes(parameters, learning, round(memory), round(memory / shares))


def _is_packed(name: str, llm: DecoderConfig) -> bool:
    """Whether a frozen weight stands beside LoRA's updates."""
    return name.startswith("llm.") and name.endswith(".weight") and name.split(".")[-2] in llm.lora.layers
