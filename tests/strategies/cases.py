"""What the processes of a pool do: trainings of a whole tiny model, on batches made by a rule."""

import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from tests.small_model import example, frames, video
from vxl.compressor.base import CompressorConfig
from vxl.compressor.dts import DTSConfig
from vxl.data import base as data_options
from vxl.data.batch.collate import Batch, collate
from vxl.errors import CheckpointError
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.decoder import DecoderConfig
from vxl.logger.base import LoggerConfig
from vxl.logger.csv import CsvConfig
from vxl.option.option import option
from vxl.prefill.base import PrefillConfig
from vxl.prefill.full import FullConfig
from vxl.relevance.all import AllConfig
from vxl.relevance.base import RelevanceConfig
from vxl.run.config import DebugConfig, PathsConfig
from vxl.run.metrics import MetricsFile
from vxl.selector.base import SelectorConfig
from vxl.selector.none import KeepAllConfig as NoSelectorConfig
from vxl.train.config import TrainConfig
from vxl.train.parallel.strategy import DDPConfig, FSDP2Config, HSDPConfig, SingleConfig, StrategyConfig
from vxl.train.run import train_or_resume
from vxl.train.saving.retention import RetentionConfig
from vxl.train.step.adamw_8bit import AdamW8bitConfig
from vxl.train.step.muon import Muon, MuonConfig
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import StageConfig
from vxl.train.trainer import TrainerConfig
from vxl.video.sample import VideoConfig
from vxl.vision.base import VisionConfig
from vxl.vision.siglip import SiglipConfig

STRATEGIES: dict[str, StrategyConfig] = {
    "single": SingleConfig(),
    "ddp": DDPConfig(),
    "fsdp2": FSDP2Config(),
    "fsdp2_grad": FSDP2Config(reshard=False),
    "hsdp": HSDPConfig(shard=2),
    "offload": FSDP2Config(offload=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(data_options.DataConfig):
    _target_: str = "tests.Rows"
    batch: int = option(1, resumable=True)
    workers: int = option(0, resumable=True)
    max_tokens: int = 128


VIDEO = VideoConfig(_target_="vxl.video.sample.Uniform")
VISION = SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=2, slice=8)
COMPRESSOR = DTSConfig()
SELECTOR = NoSelectorConfig()
LLM = DecoderConfig(vocab=97, width=48, mlp=64, layers=3)
PREFILL = FullConfig(groups=2)
KV = KeepAllConfig()
RELEVANCE = AllConfig()
DEBUG = DebugConfig()
DATA = DataConfig()
MUON = OptimConfig(optimizer=MuonConfig(weight_decay=0.1), lr=2e-3, schedule="constant", warmup=0.0, clip=0.5)
TOWER_ALONE = StageConfig(train=["vision"])
ADAMW_8BIT = OptimConfig(optimizer=AdamW8bitConfig(), lr=2e-3, schedule="constant", warmup=0.0)
CHECKPOINT = RetentionConfig(every=0, keep_last=9, best=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """A TrainConfig of a whole model in miniature."""

    model: str = "small"
    size: str = "tiny"
    video: VideoConfig = VIDEO
    vision: VisionConfig = VISION
    compressor: CompressorConfig = COMPRESSOR
    selector: SelectorConfig = SELECTOR
    llm: DecoderConfig = LLM
    prefill: PrefillConfig = PREFILL
    kv: PolicyConfig = KV
    relevance: RelevanceConfig = RELEVANCE
    data: DataConfig = DATA
    stage: StageConfig = dataclasses.field(default_factory=StageConfig)
    optim: OptimConfig = dataclasses.field(
        default_factory=lambda: OptimConfig(lr=2e-3, schedule="constant", warmup=0.0)
    )
    checkpoint: RetentionConfig = CHECKPOINT
    logger: LoggerConfig = dataclasses.field(default_factory=CsvConfig)
    debug: DebugConfig = DEBUG


def config(
    folder: Path | str,
    name: str,
    strategy: str = "single",
    ranks: int = 1,
    rows: int = 4,
    context: int = 1,
    **changes: Any,
) -> Config:
    """A run whose optimizer steps have `rows` rows, however many processes share them."""
    trainer = {
        "max_steps": 20,
        "accumulate": rows * context // ranks,
        "precision": "64-true",
        "accelerator": "cpu",
        "devices": ranks,
        "val_every": 0,
        "log_every": 1,
    } | changes.pop("trainer", {})
    return Config(
        paths=PathsConfig(runs=str(folder)),
        name=name,
        strategy=dataclasses.replace(STRATEGIES[strategy], context=context),
        trainer=TrainerConfig(**trainer),
        **changes,
    )


def batch(row: int, mixed: bool) -> Batch:
    """Row `row` of the stream. Mixed: a video of 12 pieces, one of 3, an image, text only, in turn."""
    groups = (12, 3, 1, 0)[row % 4] if mixed else 1 + row % 3
    answer = tuple(10 + (row * 7 + i) % 80 for i in range(2 + row % 4))
    made = example(*([video(groups)] if groups else []), answer=answer, seed=row)
    if not groups:
        made = dataclasses.replace(made, frames_FCHW=frames(0))
    return collate([[made]], pad=0, first_row=row)


def uneven_by_muon(ranks: int) -> torch.Tensor:
    """Three steps of Muon on a matrix of 7 x 5, whole or with its rows spread over processes."""
    from torch import distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    def spread(seed: int) -> torch.Tensor:
        whole = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
        return distribute_tensor(whole, mesh, [Shard(0)]) if mesh is not None else whole

    if ranks > 1:
        dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (ranks,)) if ranks > 1 else None
    weight = torch.nn.Parameter(spread(9))
    optimizer = Muon(MuonConfig(weight_decay=0.1), [{"params": [weight], "lr": 0.1, "rule": "muon"}])
    for step in range(3):
        weight.grad = spread(step)
        optimizer.step()
    found = weight.detach()
    if isinstance(found, DTensor):
        found = found.full_tensor()
        dist.destroy_process_group()
    return found


class Rows(LightningDataModule):
    """Optimizer steps from where the trainer stands; ranks take turns, as vxl.data.order.stream does it."""

    waits = False

    def __init__(self, config: Config, mixed: bool) -> None:
        super().__init__()
        self.config, self.mixed, self.tokenizer = config, mixed, range(97)

    def train_dataloader(self) -> Any:
        trainer = self.trainer
        assert trainer is not None
        context = self.config.strategy.context
        place = trainer.global_rank // context, trainer.world_size // context
        return Steps(self, *place, trainer.global_step)

    def val_dataloader(self) -> Any:
        return None


class Steps:
    def __init__(self, data: Rows, rank: int, ranks: int, start: int) -> None:
        self.data, self.rank, self.ranks, self.start = data, rank, ranks, start

    def __iter__(self) -> Iterator[list[Batch]]:
        step, count = self.start, self.data.config.trainer.accumulate
        while True:
            first = step * count * self.ranks
            yield [batch(first + i * self.ranks + self.rank, self.data.mixed) for i in range(count)]
            step += 1


def train(folder: str, arguments: dict[str, Any], mixed: bool = False) -> dict[str, Any]:
    """One run (see `config`), and what came out of it: loss and gradient norm by step, and the weights."""
    made = config(folder, **arguments)
    train_or_resume(made, "model: small\n", data_of=lambda config, directory: Rows(config, mixed))
    run = Path(folder) / arguments["name"]
    metrics = MetricsFile(run / "metrics.csv")
    numbers = {name: dict(metrics.values(name)) for name in ("loss", "grad_norm")}
    return numbers | {"weights": weights(made, run)}


def weights(config: Config, run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's last checkpoint."""
    from vxl.checkpoint.fill import fill_from_step
    from vxl.checkpoint.step_folder import choose_step
    from vxl.model import build_model

    model = build_model(config, dtype=torch.float64)
    fill_from_step(choose_step(run), model)
    return dict(model.state_dict())


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The largest relative difference of two runs in loss, gradient norm and weights."""
    found = {}
    for name in ("loss", "grad_norm"):
        assert one[name].keys() == other[name].keys(), (one[name].keys(), other[name].keys())
        found[name] = max(abs(one[name][i] / other[name][i] - 1) for i in one[name])
    ours, theirs = one["weights"], other["weights"]
    # What has no gradient but rounding (the bias of keys) is as good as zero.
    found["weights"] = max(
        float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6)) for name in theirs
    )
    return found


def train_in_bf16(folder: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """One run under bf16-mixed; and in which precisions its gathered weights and summed gradients are."""
    from vxl.train.parallel import lightning_strategies

    apply, seen = lightning_strategies.apply_fsdp, {}

    def noted(model: torch.nn.Module, how: Any) -> None:
        seen.update(compute=how.compute, reduce=how.reduce)
        apply(model, how)

    lightning_strategies.apply_fsdp = noted
    arguments |= {"trainer": {"max_steps": 4, "precision": "bf16-mixed"}}
    try:
        return train(folder, arguments) | seen
    finally:
        lightning_strategies.apply_fsdp = apply


def train_on_a_full_disk(folder: str, arguments: dict[str, Any]) -> str:
    """What a run's error says if the second process's disk is full at the second checkpoint."""
    from torch.distributed.checkpoint.filesystem import FileSystem

    create = FileSystem.create_stream

    def full(self: FileSystem, path: str | os.PathLike, mode: str) -> Any:
        if mode == "wb" and "step-000004" in str(path) and os.environ["RANK"] == "1":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return create(self, path, mode)

    FileSystem.create_stream = full  # type: ignore[method-assign]
    try:
        train(folder, arguments)
    except CheckpointError as error:
        return str(error)
    finally:
        FileSystem.create_stream = create  # type: ignore[method-assign]
    return "no error"


def train_lean(folder: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with tied embeddings and a frozen tower; `lean`: blocks recomputed, weights on the CPU."""
    lean = arguments.pop("lean")
    tied = dataclasses.replace(LLM, tied=True, checkpointing=lean)
    arguments |= {
        "llm": tied,
        "vision": dataclasses.replace(VISION, checkpointing=lean),
        "stage": StageConfig(train=["compressor", "projector", "llm"]),
        "strategy": "offload" if lean else "single",
    }
    return train(folder, arguments)


def loaded(folder: str, sharded: bool = False) -> dict[str, str]:
    """Digests of a model's tensors, filled from a folder of safetensors: whole, or in two parts."""
    import hashlib

    from torch import distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    from vxl.checkpoint.fill import fill, skeleton
    from vxl.checkpoint.weights import Weights
    from vxl.model import build_model
    from vxl.train.parallel.sharding import Sharding, apply_fsdp, materialise
    from vxl.weights.stored import open_file

    made = config(folder, "x", llm=dataclasses.replace(LLM, tied=True))
    file = Path(folder) / "model.safetensors"
    if sharded:
        dist.init_process_group("gloo")
    if not file.exists() and (not sharded or dist.get_rank() == 0):
        from safetensors.torch import save_file

        from vxl.checkpoint.fill import wanted

        save_file({n: t.detach().clone() for n, t in wanted(build_model(made, seed=7)).items()}, file)
    if sharded:
        dist.barrier()
    model = skeleton(made)
    if sharded:
        apply_fsdp(model, Sharding(init_device_mesh("cpu", (2,))))
        materialise(model, torch.device("cpu"))
    fill(model, Weights(file, open_file(file), {}))
    found = {}
    for name, tensor in [*model.state_dict().items(), *model.named_buffers()]:
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        found[name] = hashlib.sha256(whole.numpy().tobytes()).hexdigest()
    if sharded:
        dist.destroy_process_group()
    return found
