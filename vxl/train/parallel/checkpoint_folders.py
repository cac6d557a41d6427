"""Saving and loading vxl's checkpoint folders, for every Lightning strategy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from typing_extensions import override

from vxl.checkpoint.step_folder import StepFolder
from vxl.errors import CheckpointError
from vxl.train.parallel.background import Background
from vxl.train.step.adamw_8bit import as_moments, as_plain_tensors
from vxl.weights.coded import hold_again


@dataclass(frozen=True)
class SaveOptions:
    """How a checkpoint is written: the `storage_options` of Lightning's `Trainer.save_checkpoint`."""

    background: bool = False
    """Whether it is written while training goes on."""
    when_complete: Callable[[Path], None] | None = None
    """Called in the first process, with the folder."""


class CheckpointFolders(Strategy):
    """Mixed into a Lightning strategy: one checkpoint format, whatever the strategy.

    Tensors go by their names in the model (a sharded tensor saves its shards), so that another strategy, or
    another number of processes, loads them. They are loaded in place, after the optimizer is built.
    """

    @cached_property
    def writer(self) -> Background:
        """Writes one checkpoint after the other."""
        return Background()

    @cached_property
    def peers(self) -> Any:
        """The process group of checkpoints, apart from that of training; None for a process alone."""
        return dist.new_group(backend="gloo") if self.ranks > 1 else None

    @property
    def ranks(self) -> int:
        """Processes."""
        return getattr(self, "world_size", 1)

    @property
    @override
    def restore_checkpoint_after_setup(self) -> bool:
        return True  # loading in place needs the model on its device, and the optimizer

    # `save_checkpoint` and `load_checkpoint` treat the model's and the optimizer's tensors themselves.
    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return False

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {}

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return {}

    @override
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        pass

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        pass

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Writes one folder (vxl.checkpoint.step_folder.StepFolder.write).

        Args:
            checkpoint: What Lightning keeps beside the tensors.
            filepath: The folder.
            storage_options: SaveOptions, or None for their defaults.
        """
        how: SaveOptions = storage_options or SaveOptions()
        model = self._trained()
        tensors, settings = optimizer_tensors(model, self.optimizers[0])
        rest = {
            key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")
        }
        state: dict[str, Any] = {"model": weights(model), "optim": tensors}
        rest |= {"optimizer": settings}
        self.writer.wait()
        if how.background:
            state = BlockingAsyncStager().stage(state)
        peers = self.peers

        def write() -> None:
            StepFolder(Path(filepath)).write(state, rest, peers)
            if how.when_complete is not None and self.is_global_zero:
                how.when_complete(Path(filepath))

        if how.background:
            self.writer.start(write)
        else:
            write()

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Fills the model and the optimizer from one folder and returns the rest."""
        path = Path(checkpoint_path)
        model, optimizer = self._trained(), self.optimizers[0]
        step = StepFolder(path)
        rest = step.read_rest()
        state = {"model": weights(model), "optim": empty_state(path, model)}
        # Whichever a run goes on from has been verified (vxl.checkpoint.resume).
        step.read_into(state, no_dist=self.ranks == 1, verified=True)
        hold_again(model, state["model"])
        restore(model, optimizer, state["optim"], rest.pop("optimizer"))
        return rest

    def _trained(self) -> nn.Module:
        assert self.lightning_module is not None
        model = cast(nn.Module, self.lightning_module.model)
        for module in model.modules():
            # A forward pass without a backward pass (a validation) leaves sharded weights gathered.
            if isinstance(module, FSDPModule):
                module.reshard()
        return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name; the names do not show whether parts are compiled."""
    return {_plain(name): tensor for name, tensor in model.state_dict().items()}


def optimizer_tensors(
    model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The optimizer's state by parameter name: its tensors, and everything else."""
    names: dict[Tensor, str] = {p: _plain(name) for name, p in model.named_parameters()}
    tensors: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.state.items():
        for key, value in as_plain_tensors(state).items():
            kind: dict[str, dict[str, Any]] = tensors if isinstance(value, Tensor) else plain
            kind.setdefault(names[parameter], {})[key] = value
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        | {"names": [names[parameter] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    return tensors, {"state": plain, "groups": groups}


def empty_state(path: Path, model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Tensors to load a folder's optimizer state into: shaped like the parameter, or single numbers."""
    parameters = {_plain(name): parameter for name, parameter in model.named_parameters()}
    state: dict[str, dict[str, Tensor]] = {}
    for key, like in StepFolder(path).outline().items():
        if not key.startswith("optim."):
            continue
        name, _, kind = key.removeprefix("optim.").rpartition(".")
        if name not in parameters:
            raise CheckpointError(f"{path} holds optimizer state of {name}, which the model does not have.")
        parameter = parameters[name]
        same = like.shape == parameter.shape and like.ndim > 0
        fresh_state = (
            torch.zeros_like(parameter, dtype=like.dtype)
            if same
            else torch.zeros(like.shape, dtype=like.dtype)
        )
        state.setdefault(name, {})[kind] = fresh_state.detach()
    return state


def restore(
    model: nn.Module, optimizer: Optimizer, tensors: dict[str, dict[str, Tensor]], rest: dict[str, Any]
) -> None:
    """Gives the optimizer its saved state; a parameter that never had a gradient has none."""
    parameters = {_plain(name): parameter for name, parameter in model.named_parameters()}
    optimizer.state.clear()
    for name in {**tensors, **rest["state"]}:
        state = {**tensors.get(name, {}), **rest["state"].get(name, {})}
        optimizer.state[parameters[name]] = as_moments(state, parameters[name])
    group_by_names = {tuple(group["names"]): group for group in rest["groups"]}
    names = {parameter: name for name, parameter in parameters.items()}
    for group in optimizer.param_groups:
        saved_group = group_by_names.get(tuple(names[parameter] for parameter in group["params"]))
        if saved_group is None:
            raise CheckpointError(
                "the checkpoint's optimizer groups are not this run's: other parts are trained."
            )
        group.update({key: value for key, value in saved_group.items() if key != "names"})
        if group.get("fused") or group.get("capturable"):  # such kernels count steps where the weights are
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                if "step" in state:
                    state["step"] = state["step"].to(parameter.device)


def _plain(name: str) -> str:
    return name.replace("_orig_mod.", "")
