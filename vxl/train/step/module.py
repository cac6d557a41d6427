"""The model as Lightning trains it: one batch is one optimizer step, given as its micro-batches."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from typing_extensions import override

from vxl.data.batch.collate import Batch
from vxl.distributed import ContextGroup, gathered
from vxl.errors import VxlError
from vxl.llm.packed import Frozen
from vxl.model import VideoLanguageModel
from vxl.seeds import seed_of
from vxl.train.parallel.context import refuse_unlike
from vxl.train.parallel.gradients import norms_of, scale
from vxl.train.parallel.lightning_strategies import ReplicatedStrategy, ShardedStrategy
from vxl.train.parallel.sharding import Fill
from vxl.train.step import diverged
from vxl.train.step.optimizer import OptimConfig, build_optimizer, set_rates
from vxl.train.step.questions import right_answers
from vxl.train.step.stage import StageConfig, cast_frozen, freeze, ratios_at, tower_to_fp8, train_mode
from vxl.train.step.train_step import TrainStep, over_all_ranks

log = logging.getLogger(__name__)


class DivergedError(VxlError):
    """The loss or the gradient is no number any more."""


class VideoLanguageModule(LightningModule):
    """Trains a VideoLanguageModel, or another learner (vxl.train.step.learner).

    The loss is the sum over the supervised tokens of the global batch (all ranks, all micro-batches) by their
    number, so that the same rows give the same step however they are dealt out. Randomness (dropout, …) is
    seeded by (seed, step, micro-batch): a resumed run needs no generator state.

    Args:
        model: The model; its parameters outside the stage are frozen here.
        stage: Which parts learn, and how fast.
        optim: The optimizer and its schedule.
        max_steps: Optimizer steps of the whole run.
        seed: The run's seed.
        frozen: Precision of the weights that do not learn (`trainer.frozen`).
        fill: Gives a model that is only outlined its weights, once the strategy has sharded it.
        context: The processes that share this one's rows (`strategy.context`); None: it has rows of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: StageConfig,
        optim: OptimConfig,
        max_steps: int,
        seed: int,
        frozen: Frozen = "same",
        fill: Fill | None = None,
        context: ContextGroup | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.stage = stage
        self.optim = optim
        self.max_steps = max_steps
        self.seed = seed
        self.fill = fill
        self.context = context
        if context is not None:
            cast(VideoLanguageModel, model).llm.context = context
        freeze(model, stage)
        tower_to_fp8(model)
        cast_frozen(model, frozen)
        train_mode(model, stage)

    @property
    def sharing(self) -> int:
        """Processes that share rows: a data-parallel rank."""
        return 1 if self.context is None else self.context.ranks

    @property
    def data_rank(self) -> int:
        """The data-parallel rank that this process is part of."""
        return self.global_rank // self.sharing

    @property
    def counts(self) -> bool:
        """Whether this process is the one whose numbers count, of those that share rows."""
        return self.global_rank % self.sharing == 0

    @override
    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ShardedStrategy):  # before there is an optimizer
            self.trainer.strategy.shard(self.model, self.fill)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.model, self.stage, self.optim)

    @override
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # each micro-batch is moved when its turn comes

    @override
    def training_step(self, batches: Sequence[Batch], batch_idx: int) -> dict[str, TrainStep]:
        """One optimizer step: gradient accumulation, gradient clipping, the update.

        Returns:
            {"step": what it saw and did}, which Lightning hands to the callbacks.

        Raises:
            DivergedError: The loss or the gradient is not finite; the weights are as before the step.
        """
        step, processes, sharing = self.trainer.global_step, self.trainer.world_size, self.sharing
        ranks = processes // sharing
        train_step = TrainStep(
            supervised=sum(batch.supervised for batch in batches), micro_batches=len(batches)
        )
        if sharing > 1:
            refuse_unlike(
                gathered([(*batch.tokens_BT.shape, batch.frames, batch.supervised) for batch in batches]),
                sharing,
            )
        total = max(1, sum(gathered(train_step.supervised)[::sharing]))
        optimizer = cast(LightningOptimizer, self.optimizers())
        train_step.rates = set_rates(optimizer.optimizer, step, self.max_steps, self.optim)
        loss = torch.zeros((), device=self.device, dtype=torch.float64 if self.device.type == "cpu" else None)
        settings: dict[str, Any] = {}
        if isinstance(self.model, VideoLanguageModel):
            settings["ratios"] = ratios_at(self.stage, step / self.max_steps)
        for i, batch in enumerate(batches):
            torch.manual_seed(seed_of(self.seed, "step", step, i * ranks + self.data_rank))
            on_device = batch.to(self.device)
            with self._summed_up(last=i + 1 == len(batches)):
                output = self.model(on_device, **settings)
                # Without several ranks there may be nothing to learn from: nothing is supervised.
                if output.loss_sum.requires_grad or processes > 1:
                    # Strategies with several processes average gradients over them; the loss is a sum.
                    self.manual_backward(output.loss_sum * (processes / total))
            loss += output.loss_sum.detach()
            train_step.answers += right_answers(output, on_device)
            train_step.count(batch, output)
            for name, value in output.numbers.items():
                train_step.drawn[name] = train_step.drawn.get(name, 0.0) + value
        train_step.loss = float(loss)
        train_step = over_all_ranks(gathered(train_step)[::sharing])
        train_step.loss /= total
        train_step.grad_norm, train_step.part_norms = self._clip(optimizer.optimizer)
        self._refuse_non_finite(train_step, step, batches)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"step": train_step}

    def _summed_up(self, last: bool) -> AbstractContextManager[Any]:
        """Leaves the sum over ranks to the last micro-batch, where every rank keeps whole gradients (ddp)."""
        strategy = self.trainer.strategy
        whole = isinstance(strategy, ReplicatedStrategy)
        return strategy.block_backward_sync() if whole and not last else nullcontext()

    def _clip(self, optimizer: torch.optim.Optimizer) -> tuple[float, dict[str, float]]:
        """Gradient clipping: scales the gradient down to the norm `optim.clip`, of all parts together.

        Returns:
            The norm it had, of all parts and of each.
        """
        gradients_by_part: dict[str, list[torch.Tensor]] = {}
        for group in optimizer.param_groups:
            own = gradients_by_part.setdefault(group["part"], [])
            own += [p.grad for p in group["params"] if p.grad is not None]
        gradients = list(gradients_by_part.values())
        norms_M = norms_of(gradients, self.device)
        total, *by_part = torch.cat([torch.linalg.vector_norm(norms_M)[None], norms_M]).tolist()
        if self.optim.clip and total > self.optim.clip:
            scale([gradient for part in gradients for gradient in part], self.optim.clip / total)
        return total, dict(zip(gradients_by_part, by_part, strict=True))

    def _refuse_non_finite(self, train_step: TrainStep, step: int, batches: Sequence[Batch]) -> None:
        wrong = [name for name in ("loss", "grad_norm") if not _is_finite(getattr(train_step, name))]
        if not wrong:
            return
        values = ", ".join(f"{name} is {getattr(train_step, name)}" for name in wrong)
        keys = [str(key) for batch in batches for key in batch.keys]
        message = self._keep(train_step, step, list(batches))
        raise DivergedError(
            f"step {step + 1} of {self.max_steps}: {values}; expected a finite number.\n"
            f"  samples of the step: {', '.join(keys[:6])}{', …' if len(keys) > 6 else ''}\n"
            f"  {message}\n"
            f"  the last checkpoint is sound. Under a new name=NAME try a smaller\n"
            f"  optim.lr (now {self.optim.lr:g}), a longer optim.warmup, or trainer.precision=32-true"
        )

    def _keep(self, train_step: TrainStep, step: int, batches: list[Batch]) -> str:
        """Writes what the step met for `debug=replay`, and says where; a full disk must not hide why."""
        run = Path(self.trainer.default_root_dir)
        folder = diverged.folder_of(run, step + 1)
        numbers = {
            "step": step,
            "ranks": self.trainer.world_size // self.sharing,
            "loss": train_step.loss,
            "grad_norm": train_step.grad_norm,
            "part_norms": train_step.part_norms,
        }
        try:
            if self.counts:
                diverged.write_batches(folder, self.data_rank, batches, numbers)
            self.zero_grad(set_to_none=True)
            self.trainer.save_checkpoint(folder / diverged.CHECKPOINT, weights_only=False)
        except (OSError, VxlError) as error:
            return f"the batch could not be kept: {error}"
        name = run.name if run.is_absolute() else run
        return (
            f"batch and weights are in {folder}\n"
            f"  which part began it:  python train.py debug=replay name={name}"
        )


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
