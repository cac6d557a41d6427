"""`debug=replay`: reruns the batch at which a run diverged, and says which part made the first NaN or inf."""

import contextlib
import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

from vxl.checkpoint.resolved import read_config
from vxl.checkpoint.step_folder import StepFolder
from vxl.data.batch.collate import Batch
from vxl.option.rebuild import rebuild
from vxl.run.find import find_run
from vxl.run.name import run_name
from vxl.seeds import seed_of
from vxl.table import Listing
from vxl.train.config import TrainConfig
from vxl.train.step import diverged
from vxl.train.step.learner import build_learner
from vxl.train.step.stage import part_of
from vxl.train.trainer import device_of
from vxl.weights.coded import hold_again


@dataclass
class NonFinite:
    """Where something that is no number showed up first."""

    where: str
    """`weights`, `batch`, `forward`, `loss`, `backward` or `gradient`."""
    name: str
    """A field of the batch, a parameter, or a module by its name in the model."""
    detail: str = ""

    @property
    def part(self) -> str:
        """The part of the model, or the batch."""
        if self.where in ("batch", "loss"):
            return self.where
        try:
            return part_of(f"{self.name}.")
        except ValueError:
            return "model"


def replay(config: TrainConfig, console: Console) -> list[NonFinite | None]:
    """Reruns the latest failure of a run on this machine, in one process, and prints what it finds.

    Args:
        config: Names the run; the run's own resolved.yaml says what it trained.
        console: Where to print.

    Returns:
        For each micro-batch of each rank the first thing that is no number; None where all are.

    Raises:
        CheckpointError: The run has not diverged, or its files can't be read.
    """
    # late: Lightning takes seconds, and a finished run needs none of it
    from vxl.train.step.module import VideoLanguageModule

    run = find_run(run_name(config), Path(config.paths.runs)).path
    folder = diverged.latest(run)
    own = rebuild(TrainConfig, read_config(run / "resolved.yaml"))
    device = device_of(config.trainer)
    model = build_learner(own, pretrained=False)
    module = VideoLanguageModule(
        model, own.stage, own.optim, own.trainer.max_steps, own.seed, own.trainer.frozen
    )
    kinds = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
    if own.trainer.precision in kinds:
        module.to(kinds[own.trainer.precision])
    load_failed_weights(folder / diverged.CHECKPOINT, model)
    module.to(device)
    mixed = own.trainer.precision == "bf16-mixed"
    columns = ("rank", "micro-batch", "loss", "first that is no number")
    table = Listing(escape(f"replay of {folder}"), columns, words=columns[-1:])
    results: list[NonFinite | None] = []
    for rank, (record, batches) in enumerate(diverged.read_batches(folder)):
        for i, batch in enumerate(batches):
            torch.manual_seed(seed_of(own.seed, "step", record["step"], i * record["ranks"] + rank))
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                loss, finding = examine(model, batch.to(device))
            results.append(finding)
            table.add(str(rank), str(i), f"{loss:.4g}", escape(in_words(finding)))
    table.show(console)
    console.print(verdict(results), markup=False)
    return results


def load_failed_weights(checkpoint: Path, model: nn.Module) -> None:
    """Fills a model with the weights that the failing step met."""
    # late: Lightning takes seconds, and a finished run needs none of it
    from vxl.train.parallel.checkpoint_folders import weights

    tensors = weights(model)
    StepFolder(checkpoint).read_into({"model": tensors})
    hold_again(model, tensors)


def examine(model: nn.Module, batch: Batch) -> tuple[float, NonFinite | None]:
    """Runs a micro-batch forward and backward, and finds the first thing that is no number.

    Args:
        model: In the mode in which it trained.
        batch: A micro-batch, where the model is.

    Returns:
        The loss a supervised token, and what was found; None if everything is a number.
    """
    broken = [name for name, value in model.named_parameters() if not _finite(value)]
    if broken:
        return math.nan, NonFinite("weights", broken[0], f"and {len(broken) - 1} more" if broken[1:] else "")
    fields = diverged.non_finite(batch)
    findings = [NonFinite("batch", fields[0])] if fields else []
    model.zero_grad(set_to_none=True)
    with noting_non_finite(model, findings):
        output = model(batch)
        loss = output.loss_sum
        if not findings and not _finite(loss):
            findings.append(
                NonFinite("loss", "cross entropy", f"largest hidden state {_largest(output.hidden_SD)}")
            )
        if loss.requires_grad:
            loss.backward()
    for name, parameter in model.named_parameters():
        if not findings and parameter.grad is not None and not _finite(parameter.grad):
            findings.append(NonFinite("gradient", name))
    model.zero_grad(set_to_none=True)
    return float(loss.detach()) / max(1, output.supervised), findings[0] if findings else None


@contextlib.contextmanager
def noting_non_finite(model: nn.Module, findings: list[NonFinite]) -> Generator[None]:
    """Notes the first module whose output, or the first output whose gradient, is no number."""
    handles: list[Any] = []

    def before(name: str) -> Any:
        def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not findings and not all(_finite(t) for t in _tensors(inputs)):
                outer = name.rpartition(".")[0] or "the model itself"
                findings.append(NonFinite("forward", outer, f"before its {name.rpartition('.')[2]}"))

        return check

    def after(name: str) -> Any:
        def check(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
            for tensor in _tensors(outputs):
                if not findings and not _finite(tensor):
                    largest = ", ".join(_largest(t) for t in _tensors(inputs)) or "none"
                    findings.append(NonFinite("forward", name, f"largest input {largest}"))
                if tensor.requires_grad:
                    tensor.register_hook(behind(name))

        return check

    def behind(name: str) -> Any:
        def check(gradient: Tensor) -> None:
            if not findings and not _finite(gradient):
                findings.append(NonFinite("backward", name, "in the gradient that reaches its output"))

        return check

    for name, module in model.named_modules():
        if name:
            handles += [
                module.register_forward_pre_hook(before(name)),
                module.register_forward_hook(after(name)),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def in_words(finding: NonFinite | None) -> str:
    """One finding in words."""
    if finding is None:
        return "-"
    detail = f" ({finding.detail})" if finding.detail else ""
    return f"{finding.where}: {finding.name}{detail}"


def verdict(results: list[NonFinite | None]) -> str:
    """What to make of the findings."""
    first = next((finding for finding in results if finding is not None), None)
    if first is None:
        return (
            "everything is a number here: other kernels, another machine, or the sum over micro-batches and "
            "ranks made the difference.\n  on CUDA try  trainer.deterministic=true"
        )
    advice = {
        "batch": "look at that sample:  vxl shards lint",
        "weights": "the weights were broken before this step: go back to an earlier checkpoint",
    }.get(
        first.where,
        "a smaller optim.lr, a longer optim.warmup, or trainer.precision=32-true, under a new name",
    )
    return f"first: {first.part}, {in_words(first)}\n  {advice}"


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value.detach()).all())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    return []


def _largest(value: Tensor) -> str:
    # Detached: recomputation in the backward pass must save what the forward pass saved.
    return f"{float(value.detach().abs().max()):.3g}" if value.numel() else "empty"
