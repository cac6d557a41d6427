"""Loaders for Lightning: one item of the training loader is one optimizer step, as its micro-batches."""

import logging
import os
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from vxl.checkpoint.tokenizer import tokenizer_of
from vxl.compressor.base import plan
from vxl.data.bad import BadCounter, refuse_mostly_bad
from vxl.data.base import Data
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.examples import Examples
from vxl.data.batch.prompt import Prompt
from vxl.data.batch.visuals_alone import VisualsAlone
from vxl.data.order.fixed import FixedList
from vxl.data.order.rows import Order
from vxl.data.order.stream import MicroBatch, Stream
from vxl.data.order.worker import ErrorsAsItems, Loader, end_with_trainer
from vxl.data.source.source import SampleSource
from vxl.errors import VxlError
from vxl.option.build import build
from vxl.seeds import seed_of
from vxl.train.config import TrainConfig

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast

    from vxl.data.order.pipe import PipeStream

log = logging.getLogger(__name__)

# Micro-batches that each worker makes in advance.
PREFETCH = 2


class DataModule(L.LightningDataModule):
    """The data of a run, from the row where the last run stopped.

    Args:
        config: Names data, batch size (`data.batch`), gradient accumulation and what a sample is made of.
        data: Prepared data; None: built from the config.
        tokenizer: The run's tokenizer; None: found or trained when it is first asked for.
        rank: This process's data-parallel rank, of `ranks`; None takes the attached trainer's, or 0 of 1.
        ranks: Data-parallel ranks.

    Attributes:
        rows: Rows of the global order that all ranks together have trained on.
        waits: Whether the trainer is waiting for the next step's batches.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Data | None = None,
        tokenizer: "PreTrainedTokenizerFast | None" = None,
        *,
        rank: int | None = None,
        ranks: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.data: Data = data or build(config.data, cache=Path(config.paths.cache))
        self._tokenizer = tokenizer
        self.rows = 0
        self.waits = False
        self._anchor = (0, 0)
        self._bad = BadCounter(config.data.max_bad_fraction, self.data.media_folders())
        self._rank, self._ranks = rank, ranks

    def rebatched(self, config: TrainConfig) -> "DataModule":
        """The same data under a config with another micro-batch."""
        return DataModule(config, self.data, self.tokenizer, rank=self._rank, ranks=self._ranks)

    @override
    def prepare_data(self) -> None:
        # Writes shards, indexes and the tokenizer, once, however many processes call it.
        self.data.prepare()
        self._refuse_mostly_bad()
        _ = self.tokenizer

    def _refuse_mostly_bad(self) -> None:
        """Stops before the first step where more is known to be unusable than `data.max_bad_fraction` lets
        pass: the run would stop as soon as it drew it."""
        if self.data.pipes():
            return
        for source in self.data.training(self.config.seed).sources.values():
            refuse_mostly_bad(source, self.config.data.max_bad_fraction, self.data.media_folders())

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The run's tokenizer."""
        return self._tokenizer or tokenizer_of(
            self.config.prompt,
            self.config.llm,
            (self.config.init_from, self.config.weights),
            self.config.paths,
            self.data.texts,
        )

    @cached_property
    def examples(self) -> Examples:
        """How a sample becomes an example."""
        config = self.config
        shape = plan(config.compressor, config.vision.grid)
        settings = (config.prompt, self.tokenizer, shape, config.data.max_tokens)
        language = config.stage.objective == "language"
        prompt = Prompt(*settings, build(config.prune)) if language else VisualsAlone(*settings)
        return Examples(prompt, build(config.video), config.vision.pixels)

    @override
    def train_dataloader(self) -> "Steps":
        """Endless optimizer steps, each a list of micro-batches, from `rows` on."""
        return Steps(self)

    @override
    def val_dataloader(self) -> DataLoader | None:
        """The held-out samples in a fixed order, one micro-batch an item; None without any."""
        source = self.data.validation()
        return None if source is None else self.fixed_loader(source, self.config.data.held_out)

    def fixed_loader(self, source: SampleSource, most: int | None = None) -> DataLoader:
        """Samples of a source, each once, one micro-batch an item; every rank gets as many."""
        place = {"batch": self.config.data.batch, "rank": self.rank, "ranks": self.ranks}
        return self._loader(FixedList(source, self.examples, most=most, **place), "fixed")

    def stream_loader(self) -> DataLoader:
        """This rank's endless micro-batches, from `rows` on."""
        pipes = self.data.pipes()
        return self._loader(self._piped(pipes) if pipes else self._indexed(), "stream")

    def _indexed(self) -> Stream[Example]:
        config, examples = self.config.data, self.examples
        order = Order(
            self.data.training(self.config.seed),
            examples.cost,
            seed=self.config.seed,
            bucket=config.bucket,
            group=self.global_batch,
            max_tokens=config.max_tokens if config.packing else None,
            anchor=self._anchor,
        )
        place = {"batch": config.batch, "rank": self.rank, "ranks": self.ranks, "start_row": self.rows}
        return Stream(order, examples.make, examples.masked, **place)

    def _piped(self, pipes: list[str]) -> "PipeStream[Example]":
        from vxl.data.order.pipe import PipeStream  # late: webdataset, for pipes alone

        config, examples = self.config.data, self.examples
        return PipeStream(
            pipes,
            examples.cost,
            examples.make,
            examples.masked,
            seed=self.config.seed,
            batch=config.batch,
            bucket=config.bucket,
            max_tokens=config.max_tokens if config.packing else None,
            rank=self.rank,
            ranks=self.ranks,
            workers=config.workers,
            start_row=self.rows,
        )

    @property
    def rank(self) -> int:
        """The data-parallel rank that this process is, or is part of."""
        if self._rank is not None:
            return self._rank
        return self.trainer.global_rank // self.config.strategy.context if self.trainer else 0

    @property
    def ranks(self) -> int:
        """Data-parallel ranks, which share the rows out among themselves; of one or more processes each."""
        if self._ranks is not None:
            return self._ranks
        return self.trainer.world_size // self.config.strategy.context if self.trainer else 1

    @property
    def global_batch(self) -> int:
        """The global batch size: rows of an optimizer step."""
        return self.config.data.batch * self.config.trainer.accumulate * self.ranks

    @override
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        # Lightning calls this when a batch is used, not when it is fetched.
        if isinstance(batch, list):
            self.consumed(batch)
        return batch

    def consumed(self, batches: list[Batch]) -> None:
        """Counts one optimizer step.

        Raises:
            DataError: Too many samples were bad by now.
        """
        self.rows += self.global_batch
        self._anchor = batches[-1].anchor
        for batch in batches:
            self._bad.add(len(batch.keys), batch.bad)

    @override
    def state_dict(self) -> dict[str, Any]:
        # Where the stream is; nothing about ranks, workers or micro-batches, which may change.
        place = {"rows": self.rows, "anchor": list(self._anchor), "bad": self._bad.state_dict()}
        return {**place, "of": self._holds}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        window, first_row = state_dict["anchor"]
        self.rows, self._anchor = state_dict["rows"], (window, first_row)
        self._bad.load_state_dict(state_dict["bad"])
        before = state_dict.get("of")
        other = sorted(name for name in self._holds if before and before.get(name) != self._holds[name])
        if other:
            log.warning(
                "the samples of %s are not those that this run began with: it goes on at row %d of others. "
                "For a run of its own type  name=NAME",
                ", ".join(f"data ({name})" for name in other),
                self.rows,
            )

    @cached_property
    def _holds(self) -> dict[str, str]:
        """What the sources hold; nothing is known of pipes."""
        return {} if self.data.pipes() else self.data.training(self.config.seed).fingerprint()

    def _loader(self, dataset: IterableDataset, name: str) -> DataLoader:
        workers, patience = self.config.data.workers, self.config.data.patience
        # Tokenizers warn when a process is forked that has used their threads (to train one, say).
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if workers:
            end_with_trainer()
        return Loader(
            ErrorsAsItems(dataset) if workers else dataset,
            batch_size=None,
            num_workers=workers,
            collate_fn=partial(collate_micro_batch, pad=self.examples.prompt.pad),
            prefetch_factor=PREFETCH if workers else None,
            pin_memory=torch.cuda.is_available(),
            patience=patience,
            # Without one of its own the loader draws from torch's generator, whose state then depends on it.
            generator=torch.Generator().manual_seed(seed_of(self.config.seed, "loader", name)),
        )


class Steps:
    """Endless optimizer steps. A new iteration starts behind the rows consumed by then."""

    def __init__(self, module: DataModule) -> None:
        self.module = module

    def __iter__(self) -> Iterator[list[Batch]]:
        micro = iter(self.module.stream_loader())
        while True:
            self.module.waits = True
            batches = list(islice(micro, self.module.config.trainer.accumulate))
            self.module.waits = False
            yield batches


def collate_micro_batch(micro: MicroBatch[Any] | VxlError, pad: int) -> Batch | VxlError:
    """A micro-batch's examples as tensors; runs where they were made. An error passes."""
    return (
        micro
        if isinstance(micro, VxlError)
        else collate(micro.rows, pad, first_row=micro.first_row, anchor=micro.anchor)
    )
