"""A model and data small enough that a whole training takes a second, of the same shapes as the real ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from vxl.data import base as data_options
from vxl.data.batch.collate import Batch
from vxl.data.batch.encoded import BatchedVisual
from vxl.kv.policy import Policy, PolicyConfig
from vxl.logger.base import LoggerConfig
from vxl.logger.csv import CsvConfig
from vxl.option.option import option
from vxl.sequence.layout import Kind, Layout
from vxl.train.parallel.strategy import SingleConfig, StrategyConfig
from vxl.train.run import train_or_resume
from vxl.train.saving.retention import RetentionConfig
from vxl.train.start import Start
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import StageConfig
from vxl.train.trainer import TrainerConfig
from vxl.train.warm import warm_start

VOCAB = 12
LETTERS = [2, 3, 4, 5]
WORD = 8  # follows the letter, up to three times
LONGEST = 3 + 3
STEPS: dict[str, Any] = {
    "max_steps": 6,
    "accumulate": 2,
    "precision": "32-true",
    "accelerator": "cpu",
    "val_every": 2,
    "log_every": 1,
}


@dataclass
class Output:
    loss_sum: Tensor
    supervised: int
    logits_QV: Tensor
    hidden_SD: Tensor
    labels_S: Tensor
    baseline_sum: Tensor | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    tokens: int | None = None
    pairs: int | None = None


class Compressor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.projector = nn.Linear(width, width)


class Model(nn.Module):
    """Reads the brightness of one frame a row and says it as a letter."""

    def __init__(self, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.vision = nn.Sequential(nn.Linear(4, width), nn.Dropout(dropout))
        self.compressor = Compressor(width)
        self.llm = nn.Module()
        self.llm.embed_tokens = nn.Embedding(VOCAB, width)
        self.llm.drop = nn.Dropout(dropout)
        self.llm.never_used = nn.Linear(2, 2)
        self.llm.lm_head = nn.Linear(width, VOCAB)
        self.selector = nn.Linear(2, 2)
        self.policy = Policy(PolicyConfig(_target_="vxl.kv.policy.Policy"))

    def forward(self, batch: Batch) -> Output:
        seen_BD = self.vision(batch.frames_FCHW.flatten(1).to(self.vision[0].weight.dtype) / 255)
        seen_BD = self.compressor.projector(torch.tanh(self.compressor.mix(seen_BD)))
        hidden_BTD = self.llm.drop(self.llm.embed_tokens(batch.tokens_BT) + seen_BD[:, None])
        labels_BT = batch.labels_BT[:, 1:]
        at_BT = labels_BT != -100
        logits_SV = self.llm.lm_head(hidden_BTD[:, :-1][at_BT])
        labels_S = labels_BT[at_BT]
        loss = F.cross_entropy(logits_SV, labels_S, reduction="sum")
        return Output(loss, len(labels_S), logits_SV[batch.answer_at_Q], logits_SV, labels_S)


def batch(seed: int, first_row: int, rows: int) -> Batch:
    """Rows of two tokens of prompt and a letter that says how bright the row's frame is.

    Row n has n % 4 more supervised tokens, so that no two micro-batches need have as many.
    """
    frames, answers = [], []
    for row in range(first_row, first_row + rows):
        made = torch.Generator().manual_seed(1000 * seed + row)
        answer = int(torch.randint(4, (), generator=made))
        noise_CHW = torch.randint(0, 40, (1, 2, 2), generator=made)
        frames.append((60 * answer + noise_CHW).to(torch.uint8))
        answers.append(answer)
    letters = torch.tensor([LETTERS[answer] for answer in answers])
    counts = torch.tensor([1 + row % 4 for row in range(first_row, first_row + rows)])
    tokens_BT = torch.full((rows, LONGEST), WORD)
    tokens_BT[:, 0], tokens_BT[:, 1], tokens_BT[:, 2] = 1, 7, letters
    places_T = torch.arange(LONGEST)
    labels_BT = torch.where((places_T >= 2) & (places_T < 2 + counts[:, None]), tokens_BT, -100)
    layout = Layout.text(rows, LONGEST)
    layout.kind_BT[:, 0] = Kind.VISUAL
    return Batch(
        tokens_BT=tokens_BT,
        labels_BT=labels_BT,
        positions_BT=places_T.expand(rows, LONGEST),
        layout=layout,
        frames_FCHW=torch.stack(frames),
        items=[BatchedVisual("image", 1, 1)] * rows,
        supervised=int(counts.sum()),
        visual_tokens=rows,
        answer_at_Q=counts.cumsum(0) - counts,
        letters_Q=[LETTERS] * rows,
        answer_Q=answers,
        keys_Q=[str(row) for row in range(first_row, first_row + rows)],
        keys=[str(row) for row in range(first_row, first_row + rows)],
        first_row=first_row,
    )


class Rows(torch.utils.data.IterableDataset):
    """Steps of micro-batches, from a row on, for ever."""

    def __init__(self, config: Any, start: int, poison: int | None) -> None:
        self.config, self.start, self.poison = config, start, poison

    def __iter__(self) -> Iterator[list[Batch]]:
        rows, count = self.config.data.batch, self.config.trainer.accumulate
        worker = torch.utils.data.get_worker_info()
        step, stride = (self.start + worker.id, worker.num_workers) if worker else (self.start, 1)
        while True:
            first = step * rows * count
            made = [batch(self.config.seed, first + i * rows, rows) for i in range(count)]
            if step == self.poison:
                made[0].frames_FCHW.data = made[0].frames_FCHW.float() * float("nan")
            yield made
            step += stride


class Tokenizer:
    def __len__(self) -> int:
        return VOCAB

    def decode(self, tokens: list[int], skip_special_tokens: bool = False) -> str:
        return ""


class Data(LightningDataModule):
    waits = False

    def __init__(self, config: Any, poison: int | None = None) -> None:
        super().__init__()
        self.config, self.poison = config, poison
        self.tokenizer = Tokenizer()

    def train_dataloader(self) -> Any:
        rows = Rows(self.config, self.trainer.global_step, self.poison)
        return torch.utils.data.DataLoader(rows, batch_size=None, num_workers=self.config.data.workers)

    def val_dataloader(self) -> Any:
        return [batch(10**6, 8 * i, 8) for i in range(4)]


@dataclass(frozen=True, kw_only=True)
class DataConfig(data_options.DataConfig):
    _target_: str = "vxl.fake.Data"
    batch: int = option(4, resumable=True)
    workers: int = option(0, resumable=True)
    scale: float = 1.0
    max_tokens: int = LONGEST


@dataclass(frozen=True, kw_only=True)
class Paths:
    runs: str = "runs"
    cache: str = ".cache/vxl"


@dataclass(frozen=True, kw_only=True)
class Debug:
    profile: int = 0
    replay: bool = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of a TrainConfig that training reads."""

    model: str = "fake"
    seed: int = 0
    data: DataConfig = DataConfig()
    stage: StageConfig = field(default_factory=StageConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=0.02))
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(**STEPS))
    strategy: StrategyConfig = field(default_factory=SingleConfig)
    checkpoint: RetentionConfig = field(default_factory=lambda: RetentionConfig(every=3))
    logger: LoggerConfig = field(default_factory=CsvConfig)
    paths: Paths = Paths()
    debug: Debug = Debug()
    name: str | None = None
    init_from: str | None = None
    plugins: list[str] = field(default_factory=list)
    on_existing: str = "resume"
    sweep_name: str | None = None
    sweep_member: str | None = None


def model(config: Config) -> Model:
    torch.manual_seed(config.seed)
    return Model()


def train(config: Config, console: Any = None, poison: int | None = None) -> Any:
    """Trains the small model on the small data."""
    return train_or_resume(
        config,
        "model: fake\n",
        console,
        data_of=lambda config, directory: Data(config, poison),
        start_of=lambda config, vocab, checkpoint, processes: Start(_started(config, checkpoint)),
        opening=lambda *_: None,
        lacking=lambda *_: None,
    )


def _started(config: Config, checkpoint: Path | None) -> Model:
    made = model(config)
    if config.init_from is not None and checkpoint is None:
        warm_start(config.init_from, made, Path(config.paths.runs))
    return made
