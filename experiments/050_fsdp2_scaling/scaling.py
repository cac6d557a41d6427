"""What it costs to spread Video-XL-2 over the GPUs of one host: every strategy, 8k and 32k tokens a GPU, a
sequence of 131,072 tokens that all of them share.

Random weights at true shapes, every part learns (or LoRA), packed rows of documents that are half video, half
text. The steps are those of `python train.py` (module, strategies, trainer); batches are made beforehand.

    python scaling.py --gpus 1,2,4,8 --as-json results.json   # all rows that this machine has the GPUs for
    python scaling.py --gpus 2,4 --rows fsdp2/7b/8192,ddp/7b/8192 --as-json some.json   # these of them alone
    torchrun --nproc-per-node 2 scaling.py --rows fsdp2/7b/8192 --as-json one.json   # any row

A row is STRATEGY/MODEL/TOKENS, and what else it is about: a variant, `same` (equal numbers), `save`, or
`context=N` (one document of so many tokens, which N processes share).
    python scaling.py --gpus 1,2 --tiny --as-json tiny.json   # in miniature, on the CPU
"""

import argparse
import dataclasses
import gc
import importlib.metadata
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule
from torch import distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from vxl.checkpoint.fill import skeleton
from vxl.compressor.base import plan
from vxl.config.compose import compose
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.distributed import ContextGroup, gathered
from vxl.model import build_model
from vxl.option.build import build
from vxl.run.provenance import commit_of
from vxl.sequence.layout import Kind
from vxl.train.launch.processes import Processes, join_processes
from vxl.train.lightning_trainer import build_trainer
from vxl.train.parallel.context import context_group
from vxl.train.parallel.sharding import materialise, scatter
from vxl.train.report.throughput import flops_of, peak_of
from vxl.train.step.compiled import compile_blocks
from vxl.train.step.module import VideoLanguageModule
from vxl.train.trainer import device_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "lightning")
SWITCHES = ("NCCL_NVLS_ENABLE", "TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS")
ALL = [
    "model=videoxl2",
    "stage=videoxl2_instruct",
    "vision.weights=random",
    "vision.checkpointing=true",
    "llm.checkpointing=true",
    "logger=csv",
    "data.batch=1",
    "+optim.optimizer.fused=true",
]
TRUE = [*ALL, "llm.attention=varlen"]
TINY = [*ALL, "size=tiny", "llm.attention=sdpa", "trainer=cpu", "data.max_tokens=1024"]
MODELS = {
    # AdamW's moments in bf16, too: 8 bytes a weight, so that one GPU holds it and is the yardstick.
    "7b": ["trainer.precision=bf16-true"],
    # Weights and moments in fp32, gradients summed in fp32: what a real run does.
    "7b_fp32": ["trainer.precision=bf16-mixed"],
    # As in experiment 040: LoRA, the compressor and the projector learn, the tower does not.
    "7b_lora": [
        "stage=lora",
        "stage.train=[compressor,projector,llm]",
        "trainer.precision=bf16-mixed",
        "trainer.frozen=bf16",
    ],
    # For equal numbers, and what checkpoints cost: true widths, two layers.
    "reduced": [
        "trainer.precision=32-true",
        "llm.attention=sdpa",
        "llm.layers=2",
        "llm.vocab=8192",
        "vision.layers=2",
    ],
    "shallow": ["trainer.precision=bf16-true", "llm.layers=2"],
}
VARIANTS = {
    # How many of the language model's blocks are recomputed: all of them unless a row says otherwise.
    "half": ["llm.recomputed=0.5"],
    "fifth": ["llm.recomputed=0.2"],
    "compiled": ["llm.recomputed=0.5", "trainer.compile=inductor"],
}
# Rows in the order of what they tell, for each number of GPUs; what has no place on it is listed as not run.
MORE = [
    "fsdp2/7b/8192",
    "fsdp2/7b/8192/half",
    "fsdp2/7b/8192/fifth",
    "ddp/7b/8192",
    "fsdp2_grad/7b/8192",
    "fsdp2/reduced/2048/same",
    "fsdp2/shallow/8192/save",
    "fsdp2/7b/32768",
    "fsdp2/7b_fp32/8192",
    "fsdp2/7b/8192/compiled",
]
LONG = 131072


def long_rows(gpus: int) -> list[str]:
    """Whether numbers are those of one GPU where all share a row, and one sequence that all share."""
    context = f"context={gpus}"
    return [
        f"fsdp2/reduced/2048/same/{context}",
        f"ddp/7b_lora/{LONG}/{context}",
        f"fsdp2/7b/{LONG}/{context}",
    ]


ROWS = {
    1: ["single/7b/8192", "single/reduced/2048/same"],
    2: [*MORE, *long_rows(2)],
    4: [*MORE, "hsdp/7b/8192", *long_rows(4)],
    8: [*MORE, "hsdp/7b/8192", *long_rows(8)],
}
SETTLED = 10  # steps of a long row at least: two to warm up, eight measured
SAME = 10  # steps whose numbers are compared, and as many more behind a checkpoint of one GPU


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parsed.add_argument("--gpus", help="how many GPUs, each a group of processes of its own: 1,2,4,8")
    parsed.add_argument("--rows", help="these alone: STRATEGY/MODEL/TOKENS, …")
    steps = "steps of a row of 8k tokens a GPU; a quarter of them of 32k, and of shared rows at least 10"
    parsed.add_argument("--steps", type=int, default=30, help=steps)
    parsed.add_argument("--until", type=float, help="no row begins after this time (as time.time() has it)")
    parsed.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parsed.add_argument("--kept", type=Path, help="folder where checkpoints of equal numbers are passed on")
    parsed.add_argument("--as-json", type=Path, required=True, help="where the rows go, one by one")
    given = parsed.parse_args()
    known = {row for rows in ROWS.values() for row in rows}
    if given.rows is None and given.gpus is None:
        parsed.error("say  --gpus 1,2,4,8  or, under torchrun,  --rows STRATEGY/MODEL/TOKENS")
    if given.rows and given.gpus and not known.issuperset(given.rows.split(",")):
        parsed.error(f"--rows with --gpus: choose from  {', '.join(sorted(known))}")
    if given.gpus is None:
        work(given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            given.kept = given.kept or Path(folder)
            lead(given)


def lead(given: argparse.Namespace) -> None:
    """Runs the rows of each number of GPUs in a group of processes, and lists those that can't be run."""
    there = 64 if given.tiny else torch.cuda.device_count()
    wanted = [int(number) for number in given.gpus.split(",")]
    named = given.rows and given.rows.split(",")
    for gpus in sorted({*ROWS, *wanted}):
        asked = [row for row in ROWS[gpus] if not named or row in named]
        if not asked:
            continue
        if gpus in wanted and gpus <= there:
            flags = ["--as-json", str(given.as_json), "--steps", str(given.steps), "--kept", str(given.kept)]
            flags += ["--tiny"] if given.tiny else []
            flags += ["--until", str(given.until)] if given.until else []
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            rows = ["--rows", ",".join(asked)]
            command = [*torchrun, "--nproc-per-node", str(gpus), __file__, *rows, *flags]
            say(shlex.join(command))
            subprocess.run(command, check=False)
        else:
            for row in asked:
                leave_out(given, row, gpus)


def leave_out(given: argparse.Namespace, row: str, gpus: int) -> None:
    """Lists a row as not run, with its command; what an earlier run measured stays."""
    rows = json.loads(given.as_json.read_text()) if given.as_json.exists() else []
    if any((old["row"], old["gpus"]) == (row, gpus) and "steps" in old for old in rows):
        return
    command = f"torchrun --nproc-per-node {gpus} {Path(__file__).name} --rows {row}"
    write(given.as_json, {"row": row, "gpus": gpus, "not_run": True, "command": command})


def work(given: argparse.Namespace) -> None:
    """One process of a group: all its rows, one after the other."""
    gpus = int(os.environ["WORLD_SIZE"])
    if not given.tiny:
        torch.set_float32_matmul_precision("high")
    words = [*(TINY if given.tiny else TRUE), f"trainer.devices={gpus}"]
    strategy = "single" if gpus == 1 else "ddp"
    some = compose("train", [*words, f"strategy={strategy}"]).trainer
    with join_processes(some, cuda=not given.tiny) as group:
        for row in given.rows.split(","):
            if any(gathered(given.until is not None and time.time() > given.until)):
                if group.first:
                    leave_out(given, row, gpus)
                continue
            began = time.perf_counter()
            try:
                found = measure(given, group, words, row)
            except Exception as error:  # one row that fails leaves the others
                found = {"error": f"{type(error).__name__}: {str(error)[:400]}"}
            gc.collect()
            if not given.tiny:
                torch.cuda.empty_cache()
            failed = [note for note in gathered(found.get("error")) if note]
            if failed:
                found = {"error": failed[0]}
            if group.first:
                command = f"torchrun --nproc-per-node {gpus} {Path(__file__).name} --rows {row}"
                command += f" --steps {given.steps}" + (" --tiny" if given.tiny else "")
                spent = {"seconds_in_all": time.perf_counter() - began}
                write(given.as_json, {"row": row, "gpus": gpus, "command": command, **found, **spent})
                say(json.dumps({"row": row, "gpus": gpus, **found, **spent}))


def measure(given: argparse.Namespace, group: Processes, words: list[str], row: str) -> dict[str, Any]:
    """Trains some steps under one strategy and returns their numbers."""
    strategy, kind, size, *more = row.split("/")
    same, save = "same" in more, "save" in more
    tokens = (512 if same else 2048) if given.tiny else int(size)
    context, steps = shared_by(more), steps_of(given, more, tokens)
    words = [*words, *words_of(kind, given.tiny), f"strategy={strategy}", f"strategy.context={context}"]
    words += [word for name in more for word in VARIANTS.get(name, []) if not given.tiny]
    if strategy == "hsdp":
        words.append(f"strategy.shard={group.ranks // 2}")
    if context > 1:
        words.append("llm.attention=sdpa")  # the one that is shared
    # Rows of a global batch that is the same for any number of GPUs, where numbers are compared.
    accumulate = max(1, 2 * context // group.ranks) if same else 1
    total = steps if same else steps + 2  # two behind the measured ones, for the trace
    config = compose("train", [*words, f"trainer.max_steps={total}", f"trainer.accumulate={accumulate}"])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, group, tokens, Path(folder), whole=context > 1 and not same)
        model, fill = made(config, group, run.device, same)
        record = Record(steps, run.device, traced=not same)
        if not given.tiny:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.reset_accumulated_memory_stats()
        trainer, flops = run.fit(model, fill, record, 2 * steps if same else total)
        found = numbers(record, flops, steps, group, run.device)
        found["parameters"] = sum(p.numel() for p in model.parameters())
        found |= {"tokens_asked": tokens, "words": words, "precision": config.trainer.precision}
        found |= {"context": context} if context > 1 else {}
        if save:
            found |= checkpoints(trainer, group, Path(folder))
        if same and given.kept is not None:
            found |= equal_numbers(run, trainer, record, given.kept)
    if run.context is not None:  # NCCL's buffers, which the next row would find taken
        dist.destroy_process_group(run.context.peers)
    return {**found, **about(run.device)}


def shared_by(more: list[str]) -> int:
    """How many processes share a row."""
    return next((int(word.removeprefix("context=")) for word in more if word.startswith("context=")), 1)


def words_of(kind: str, tiny: bool) -> list[str]:
    """A model's words; in miniature what learns is the same, in the precision of a CPU."""
    if not tiny:
        return MODELS[kind]
    return [*(word for word in MODELS[kind] if word.startswith("stage")), "trainer.precision=32-true"]


def steps_of(given: argparse.Namespace, more: list[str], tokens: int) -> int:
    """Steps of a row: fewer of longer ones, and those of a shared row take longer than their tokens tell."""
    context = shared_by(more)
    if given.tiny or "same" in more:
        return 4 if given.tiny else SAME
    if "save" in more:
        return 6
    least = min(given.steps, SETTLED) if context > 1 else 4
    return max(least, given.steps * 8192 * context // tokens)


class Run:
    """What the trainings of one row share.

    Args:
        config: Of the training.
        group: This process.
        tokens: Of a row.
        folder: Where the trainer works.
        whole: Whether a row is one document.
        context: Those that share this process's rows; None: found here, by all processes together.
    """

    def __init__(
        self,
        config: Any,
        group: Processes,
        tokens: int,
        folder: Path,
        whole: bool = False,
        context: ContextGroup | None = None,
    ) -> None:
        self.config, self.group, self.tokens, self.folder, self.whole = config, group, tokens, folder, whole
        self.device = device_of(config.trainer, group.local)
        self.context = context or context_group(config.strategy.context)

    def fit(
        self,
        model: nn.Module,
        fill: Any,
        record: "Record",
        planned: int,
        start: Path | None = None,
    ) -> tuple[Any, Any]:
        """Trains up to trainer.max_steps; returns the trainer, and the operations of a step.

        Args:
            model: Whole, or outlined where the strategy shards it.
            fill: Fills a sharded one.
            record: Sees the steps.
            planned: Steps that the learning rate is laid out for.
            start: A checkpoint to go on from.
        """
        config = self.config
        flops = flops_of(model, peak_of(self.device) or 1.0)
        settings = (config.stage, config.optim, planned, 0, config.trainer.frozen)
        module = VideoLanguageModule(model, *settings, fill, self.context)
        compile_blocks(model, config.trainer.compile)
        launch = build(self.config.strategy)
        trainer = build_trainer(config.trainer, launch, self.group, [record], self.folder)
        data = Rows(config, self.tokens, config.trainer.accumulate, self.group, self.whole)
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=False)
        return trainer, flops


def made(config: Any, group: Processes, device: torch.device, same: bool) -> tuple[nn.Module, Any]:
    """The model, and what fills it once it is sharded: random weights; the same ones where numbers count."""
    dtype = torch.bfloat16 if config.trainer.precision == "bf16-true" else torch.float32
    is_whole = config.strategy.is_whole
    if same and is_whole:
        return build_model(config, dtype=dtype, pretrained=False), None
    outline = skeleton(config, dtype=dtype)
    if same:

        def fill(model: nn.Module) -> None:
            whole = build_model(config, dtype=dtype, pretrained=False).state_dict() if group.first else None
            scatter(whole, model)

        return outline, fill
    if is_whole:
        materialise(outline, device)
        draw(outline)
    return outline, None if is_whole else draw


def draw(model: nn.Module) -> None:
    """Random weights, each rank its part."""
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        local = value.to_local() if isinstance(value, DTensor) else value
        if parameter.ndim > 1:
            local.normal_(std=0.02)
        else:
            local.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


class Rows(LightningDataModule):
    """Steps of packed rows that were made beforehand: documents of 4,096 tokens, half of them video.

    Args:
        config: Of the training.
        tokens: Of a row.
        accumulate: Rows of a step.
        group: This process; those that share rows make the same.
        whole: Whether a row is one document.

    Attributes:
        batches: Two steps, in turn the even and the odd ones.
    """

    def __init__(
        self, config: Any, tokens: int, accumulate: int, group: Processes, whole: bool = False
    ) -> None:
        super().__init__()
        shape = plan(config.compressor, config.vision.grid)
        documents = 1 if whole else max(1, round(tokens / 4096))
        length = tokens // documents
        groups = length // (2 * (shape.tokens_per_group + 8))
        groups = max(1, groups if whole else min(16, groups))
        sharing = config.strategy.context
        rank, ranks = group.rank // sharing, group.ranks // sharing
        side, vocab = config.vision.pixels.size, min(config.llm.vocab, 1000)
        self.batches: list[list[Batch]] = []
        for step in range(2):
            micro = []
            for number in range(accumulate):
                place = step * 1000 + number * ranks + rank
                maker = torch.Generator().manual_seed(place)
                row = []
                for _ in range(documents):
                    encoded = Encoded()
                    for index in range(groups):
                        encoded.visual([3] * 8, Kind.TIME, index, float(index))
                        encoded.visual([0] * shape.tokens_per_group, Kind.VISUAL, index, float(index))
                    frames = groups * shape.frames_per_group
                    encoded.items.append(BatchedVisual("video", frames, groups))
                    said = torch.randint(4, vocab, (max(2, length - len(encoded)),), generator=maker).tolist()
                    encoded.text(said[: len(said) // 2], question=True)
                    encoded.text(said[len(said) // 2 :], supervised=True)
                    frames_FCHW = torch.randint(
                        256, (frames, 3, side, side), dtype=torch.uint8, generator=maker
                    )
                    row.append(Example(encoded, frames_FCHW))
                micro.append(collate([row], pad=0, first_row=place))
            self.batches.append(micro)
        if torch.cuda.is_available():  # as the loader's are
            self.batches = [[batch.pin_memory() for batch in micro] for micro in self.batches]

    def train_dataloader(self) -> Any:
        """Steps without end, on from where the trainer stands."""
        assert self.trainer is not None
        return Steps(self.batches, self.trainer.global_step)


class Steps:
    """The steps from one on."""

    def __init__(self, batches: list[list[Batch]], start: int) -> None:
        self.batches, self.start = batches, start

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in itertools.count(self.start):
            yield self.batches[step % len(self.batches)]


class Record(Callback):
    """When steps ended and what they saw; a trace of the last one."""

    def __init__(self, steps: int, device: torch.device, traced: bool) -> None:
        self.steps, self.device, self.traced = steps, device, traced
        self.ended: list[float] = []
        self.seen: list[Any] = []
        self.kernels: dict[str, float] = {}
        self.profiler: Any = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.traced and batch_idx == self.steps and self.device.type == "cuda":
            # A step to start it in, which differs by rank, and one to record.
            schedule = torch.profiler.schedule(wait=0, warmup=1, active=1)
            kinds = [torch.profiler.ProfilerActivity.CUDA]
            self.profiler = torch.profiler.profile(activities=kinds, schedule=schedule)
            self.profiler.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())
        self.seen.append(outputs["step"])
        if self.profiler is not None and len(self.ended) == self.steps + 1:
            self.profiler.step()
        elif self.profiler is not None:
            self.profiler.stop()
            self.kernels = shares(self.profiler.events())
            self.profiler = None
        if trainer.is_global_zero and (len(self.ended) <= 2 or len(self.ended) % 5 == 0):
            spent = self.ended[-1] - self.ended[-2] if len(self.ended) > 1 else 0.0
            say(f"  step {len(self.ended)}: loss {self.seen[-1].loss:.5f}, {spent:.2f} s")


def shares(events: Any) -> dict[str, Any]:
    """Of a traced step, from its first kernel to its last: in which share of the time collectives ran, in
    which nothing else did, and in which nothing ran at all; the longest such gaps in ms, with the kernels
    around each."""
    kinds = {"all_gather": "AllGather", "reduce_scatter": "ReduceScatter", "all_reduce": "AllReduce"}
    spans: dict[str, list[tuple[float, float]]] = {"compute": [], **{kind: [] for kind in kinds}}
    names: list[tuple[float, float, str]] = []
    for event in events:
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        kind = next((k for k, word in kinds.items() if word in event.name), None)
        if kind is None and "nccl" in event.name.lower():
            continue
        spans[kind or "compute"].append((event.time_range.start, event.time_range.end))
        names.append((event.time_range.start, event.time_range.end, event.name))
    talking = union([span for kind in kinds for span in spans[kind]])
    computing = union(spans["compute"])
    busy = union([*talking, *computing])
    whole = busy[-1][1] - busy[0][0]
    found: dict[str, Any] = {f"{kind}_share": length(union(spans[kind])) / whole for kind in kinds}
    found["collectives_alone_share"] = (length(busy) - length(computing)) / whole
    found |= {"compute_share": length(computing) / whole, "idle_share": 1 - length(busy) / whole}
    gaps = sorted(((b[0] - a[1], a[1], b[0]) for a, b in itertools.pairwise(busy)), reverse=True)[:8]
    before = {end: name for _, end, name in names}
    after = {start: name for start, _, name in names}
    found["longest_gaps_ms"] = [
        [round(gap / 1000, 2), before.get(end, "")[:60], after.get(start, "")[:60]]
        for gap, end, start in gaps
    ]
    return found | {"traced_seconds": whole / 1e6}


def union(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time without overlaps."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def length(spans: list[tuple[float, float]]) -> float:
    """Time in all."""
    return sum(end - start for start, end in spans)


def numbers(record: Record, flops: Any, steps: int, group: Processes, device: torch.device) -> dict[str, Any]:
    """A row's numbers, without the first two steps and those of the trace."""
    seen, ended = record.seen[2:steps], record.ended[1:steps]
    each = [b - a for a, b in itertools.pairwise(ended)]
    between = sorted(each)
    middle = between[len(between) // 2]
    step = seen[-1]
    operations, peak = flops.of(step), peak_of(device)
    memory = torch.cuda.memory_stats() if device.type == "cuda" else {}
    held, reserved, again = (
        memory.get(name, 0)
        for name in ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_alloc_retries")
    )
    return {
        "steps": len(between),
        "seconds_a_step": middle,
        "seconds_min_max": [between[0], between[-1]],
        "seconds_each": each,
        "tokens_per_s_a_gpu": step.tokens / middle / group.ranks,
        "tokens_a_gpu": step.tokens // group.ranks,
        "frames_a_gpu": step.frames / group.ranks,
        "tflop_a_gpu": operations / group.ranks / 1e12,
        "mfu": None if peak is None else operations / middle / peak / group.ranks,
        "peak_memory_gib": max(gathered(held)) / 2**30,
        "peak_reserved_gib": max(gathered(reserved)) / 2**30,
        "allocations_retried": max(gathered(again)),
        "loss_first_last": [record.seen[0].loss, step.loss],
        **record.kernels,
    }


def checkpoints(trainer: Any, group: Processes, folder: Path) -> dict[str, Any]:
    """Seconds to save and to load all state, each rank its part."""
    folder = Path(gathered(str(folder))[0]) / "checkpoints" / "step-000001"
    seconds = []
    for action in (
        lambda: trainer.save_checkpoint(folder, weights_only=False),
        lambda: trainer.strategy.load_checkpoint(folder),
    ):
        if group.ranks > 1:
            dist.barrier()
        began = time.perf_counter()
        action()
        if group.ranks > 1:
            dist.barrier()
        seconds.append(time.perf_counter() - began)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"save_seconds": seconds[0], "load_seconds": seconds[1], "checkpoint_gb": size / 1e9}


def equal_numbers(run: Run, trainer: Any, record: Record, kept: Path) -> dict[str, Any]:
    """Losses and gradient norms of the first steps, and of as many more behind a checkpoint of one GPU.

    One GPU leaves its numbers and the checkpoint; others compare theirs, and go on from it.
    """
    group, steps = run.group, run.config.trainer.max_steps
    folder, told = kept / "checkpoints" / f"step-{steps:06d}", kept / "losses.json"
    alone = group.ranks == 1
    if alone:
        trainer.save_checkpoint(folder, weights_only=False)
    elif not told.exists():
        return {"first": seen(record)}
    longer = dataclasses.replace(run.config.trainer, max_steps=2 * steps)
    config = dataclasses.replace(run.config, trainer=longer)
    later = Run(config, group, run.tokens, run.folder, run.whole, run.context)
    model = skeleton(run.config, dtype=torch.float32)
    if run.config.strategy.is_whole:
        materialise(model, run.device)
    more = Record(steps, run.device, traced=False)
    later.fit(model, None, more, 2 * steps, start=folder)
    found: dict[str, Any] = {"first": seen(record), "resumed": seen(more)}
    if alone:
        told.write_text(json.dumps(found))
        return found
    theirs = json.loads(told.read_text())
    for part in ("first", "resumed"):
        for name in ("loss", "grad_norm"):
            pairs = zip(found[part][name], theirs[part][name], strict=True)
            found[f"{part}_{name}_difference"] = max(abs(ours / other - 1) for ours, other in pairs)
    return found


def seen(record: Record) -> dict[str, list[float]]:
    """Loss and gradient norm of each step."""
    return {name: [getattr(step, name) for step in record.seen] for name in ("loss", "grad_norm")}


def about(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the commit."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": os.environ.get("VXL_COMMIT") or commit_of(ROOT),
        "nvlink_multicast_off": {name: os.environ.get(name) for name in SWITCHES},
    }


def write(file: Path, row: dict[str, Any]) -> None:
    """Adds a row to a file of rows; the same row of an earlier run is replaced."""
    rows = json.loads(file.read_text()) if file.exists() else []
    rows = [old for old in rows if (old["row"], old["gpus"]) != (row["row"], row["gpus"])]
    part = file.with_suffix(".part")
    part.write_text(json.dumps([*rows, row], indent=1) + "\n")
    shutil.move(part, file)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
