"""The optimizer: parameter groups by part, the learning-rate schedule, and what it keeps of a weight."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.option.option import Option
from vxl.option.schema import schema_of
from vxl.train.step.adamw_8bit import AdamW8bitConfig, kept_bytes
from vxl.train.step.muon import MuonConfig, iteration_flops, rules_of_muon
from vxl.train.step.stage import PARTS, StageConfig, part_of

MOMENTS = {"SGD": 0, "Adafactor": 0, "Adagrad": 1, "ASGD": 1, "RMSprop": 1, "Muon": 1}
"""Numbers that optimizers of torch keep of a weight, where these are not two, as AdamW's are."""
MOMENTS_MORE = {"SGD": ("momentum",), "RMSprop": ("momentum", "centered")}
"""Their settings that add one each, besides amsgrad."""


def _adamw() -> Option:
    settings: dict[str, Any] = {"betas": [0.9, 0.999], "weight_decay": 0.0}
    return schema_of("torch.optim.AdamW")(_target_="torch.optim.AdamW", **settings)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the trained parts are updated."""

    optimizer: Option = field(default_factory=_adamw)
    """The optimizer class and its settings (betas, weight_decay, …); its learning rate is optim.lr."""
    lr: float = 1e-5
    """Peak learning rate of every part without one of its own (stage.part_lr)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup: float = 0.03
    """Share of the steps over which the rate rises from 0 to its peak."""
    final: float = 0.0
    """Rate at the last step, as a fraction of the peak. With 0 the last step changes no weight: transformers'
    schedules would reach 0 one step later."""
    clip: float = 1.0
    """Gradient clipping: the largest norm of the gradient of all parts together; 0: none."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"lr={self.lr} is not a learning rate.\n  expected: a number above 0")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup={self.warmup} is no share of the steps.\n  expected: 0 <= warmup < 1")
        if not 0 <= self.final <= 1:
            raise ConfigError(f"final={self.final} is not a fraction of the peak.\n  expected: 0 to 1")
        if self.clip < 0:
            raise ConfigError(f"clip={self.clip} is not a norm.\n  expected: 0 (no clipping) or more")
        default = {f.name: f.default for f in dataclasses.fields(schema_of(self.optimizer._target_))}.get(
            "lr"
        )
        if getattr(self.optimizer, "lr", default) != default:
            raise ConfigError(
                "optimizer.lr has no effect: every part has its own rate.\n  type  optim.lr=VALUE"
            )


def lr_factor(step: int, max_steps: int, config: OptimConfig) -> float:
    """The learning-rate schedule: the rate of optimizer step `step` (0, 1, …) as a fraction of the peak.

    A pure function of the step, so that a resumed run needs no scheduler state.
    """
    warm = math.ceil(config.warmup * max_steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warm) / max(1, max_steps - 1 - warm))
    remaining = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.final + (1 - config.final) * remaining


def build_optimizer(model: nn.Module, stage: StageConfig, config: OptimConfig) -> Optimizer:
    """The optimizer over the parameters that learn, one group a part, each with its peak rate as `peak`.

    One with several rules (`optim=muon`) has a group a part and `rule`.

    Raises:
        ConfigError: None of the stage's parts has a parameter in this model, or a setting is refused.
    """
    rules = rules_of(model, config)
    parameters: dict[tuple[str, str | None], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameters.setdefault((part_of(name), rules.get(name)), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for (part, rule), own in sorted(parameters.items(), key=lambda group: PARTS.index(group[0][0])):
        own_rate = getattr(stage.part_lr, part)
        rate = config.lr if own_rate is None else own_rate
        groups.append({"params": own, "lr": rate, "peak": rate, "part": part})
        if rule is not None:
            groups[-1]["rule"] = rule
    if not groups:
        raise ConfigError(
            f"stage.train=[{','.join(stage.train)}] leaves nothing to train: this model has no "
            "parameters there."
        )
    try:
        return build(config.optimizer, params=groups)
    except ValueError as error:
        raise ConfigError(
            f"optim.optimizer: {config.optimizer._target_} says: {error}\n  vxl explain optim lists the keys"
        ) from error


def rules_of(model: nn.Module, config: OptimConfig) -> dict[str, str]:
    """Which rule moves which parameter, by name; nothing of an optimizer with one rule for all."""
    return dict(rules_of_muon(model)) if isinstance(config.optimizer, MuonConfig) else {}


def moments_of(model: nn.Module, config: OptimConfig) -> dict[str, int]:
    """Numbers that the optimizer keeps of each weight of a parameter that learns, by the parameter's name."""
    rules = rules_of(model, config)
    if rules:
        all_moments = {name: 1 if rule == "muon" else 2 for name, rule in rules.items()}
    else:
        kind, settings = config.optimizer._target_.rpartition(".")[2], config.optimizer
        more = sum(bool(getattr(settings, key, 0)) for key in ("amsgrad", *MOMENTS_MORE.get(kind, ())))
        all_moments = {name: MOMENTS.get(kind, 2) + more for name, _ in model.named_parameters()}
    return {name: all_moments[name] for name, p in model.named_parameters() if p.requires_grad}


def moment_bytes(model: nn.Module, config: OptimConfig, of_number: float) -> dict[str, float]:
    """Bytes that the optimizer keeps of each parameter that learns, by the parameter's name.

    Args:
        model: Its stage's parts frozen.
        config: The optimizer.
        of_number: Bytes of a number that is kept in the precision of its weight.
    """
    moments = moments_of(model, config)
    numbers = {name: model.get_parameter(name).numel() for name in moments}
    if isinstance(config.optimizer, AdamW8bitConfig):
        return {name: kept_bytes(count, of_number) for name, count in numbers.items()}
    return {name: moments[name] * count * of_number for name, count in numbers.items()}


def update_flops(model: nn.Module, config: OptimConfig) -> float:
    """Operations of an update beyond a few a weight, in each process: of Muon's iterations."""
    if not isinstance(config.optimizer, MuonConfig):
        return 0.0
    rules = rules_of(model, config)
    learning = [p.shape for name, p in model.named_parameters() if p.requires_grad and rules[name] == "muon"]
    return config.optimizer.iterations * sum(iteration_flops(rows, columns) for rows, columns in learning)


def set_rates(optimizer: Optimizer, step: int, max_steps: int, config: OptimConfig) -> dict[str, float]:
    """Sets every group's learning rate for `step` and returns them by part."""
    share = lr_factor(step, max_steps, config)
    for group in optimizer.param_groups:
        rate = share * group["peak"]
        if isinstance(group["lr"], Tensor):  # which a compiled step was given
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    return {group["part"]: share * group["peak"] for group in optimizer.param_groups}
