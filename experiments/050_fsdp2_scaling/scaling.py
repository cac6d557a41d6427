"""What it costs to spread Video-XL-2 over the GPUs of one host: every strategy, 8k and 32k tokens a GPU.

Random weights at true shapes, every part learns, packed rows of documents that are half video and half text.
The steps are those of `python train.py` (module, strategies, trainer); batches are made beforehand.

    python scaling.py --gpus 1,2,4,8 --as-json results.json   # all rows that this machine has the GPUs for
    torchrun --nproc-per-node 2 scaling.py --rows fsdp2/7b/8192 --as-json one.json   # one row, or some
    python scaling.py --gpus 1,2 --tiny --as-json tiny.json   # in miniature, on the CPU
"""

import argparse
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

from vxl.checkpoint.fill import skeleton
from vxl.config.compose import compose
from vxl.config.option import build
from vxl.data.collate import Batch, Example, collate
from vxl.data.encoded import Encoded, Item
from vxl.data.layout import Kind
from vxl.model import build_model
from vxl.train.group import Group, gathered, processes
from vxl.train.module import VideoLanguageModule
from vxl.train.provenance import git
from vxl.train.sharding import deal
from vxl.train.throughput import flops_of, peak_of
from vxl.train.trainer import build_trainer, device_of

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
    # For equal numbers, and what checkpoints cost: true widths, two layers.
    "reduced": ["trainer.precision=32-true", "llm.attention=sdpa", "llm.layers=2", "vision.layers=2"],
    "shallow": ["trainer.precision=bf16-true", "llm.layers=2"],
}
# Rows in the order of what they tell, for each number of GPUs; what has no place on it is listed as not run.
ROWS = {
    1: ["single/7b/8192", "single/reduced/2048/same"],
    2: [
        "fsdp2/7b/8192",
        "fsdp2_grad/7b/8192",
        "fsdp2/reduced/2048/same",
        "ddp/7b/8192",
        "fsdp2/shallow/8192/save",
        "fsdp2/7b/32768",
        "fsdp2/7b_fp32/8192",
    ],
    4: ["fsdp2/7b/8192", "fsdp2_grad/7b/8192", "ddp/7b/8192", "hsdp/7b/8192", "fsdp2/7b/32768"],
    8: ["fsdp2/7b/8192", "fsdp2_grad/7b/8192", "ddp/7b/8192", "hsdp/7b/8192", "fsdp2/7b/32768"],
}
ROWS[4] += ["fsdp2/7b_fp32/8192", "fsdp2/reduced/2048/same"]
ROWS[8] += ["fsdp2/7b_fp32/8192", "fsdp2/reduced/2048/same"]


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parsed.add_argument("--gpus", help="how many GPUs, each a group of processes of its own: 1,2,4,8")
    parsed.add_argument("--rows", help="under torchrun: STRATEGY/MODEL/TOKENS, …")
    parsed.add_argument("--steps", type=int, default=30, help="steps of a row of 8k tokens, a quarter of 32k")
    parsed.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parsed.add_argument("--kept", type=Path, help="folder where checkpoints of equal numbers are passed on")
    parsed.add_argument("--as-json", type=Path, required=True, help="where the rows go, one by one")
    given = parsed.parse_args()
    if given.rows:
        work(given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            given.kept = given.kept or Path(folder)
            lead(given)


def lead(given: argparse.Namespace) -> None:
    """Runs the rows of each number of GPUs in a group of processes, and lists those that can't be run."""
    there = 64 if given.tiny else torch.cuda.device_count()
    wanted = [int(number) for number in given.gpus.split(",")]
    for gpus in sorted({*ROWS, *wanted}):
        if gpus in wanted and gpus <= there:
            flags = ["--as-json", str(given.as_json), "--steps", str(given.steps), "--kept", str(given.kept)]
            flags += ["--tiny"] if given.tiny else []
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            rows = ["--rows", ",".join(ROWS[gpus])]
            command = [*torchrun, "--nproc-per-node", str(gpus), __file__, *rows, *flags]
            say(shlex.join(command))
            subprocess.run(command, check=False)
        else:
            for row in ROWS[gpus]:
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
    with processes(some, cuda=not given.tiny) as group:
        for row in given.rows.split(","):
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


def measure(given: argparse.Namespace, group: Group, words: list[str], row: str) -> dict[str, Any]:
    """Trains some steps under one strategy and returns their numbers."""
    strategy, kind, size, *more = row.split("/")
    same, save = "same" in more, "save" in more
    tokens = 64 if given.tiny else int(size)
    steps = 4 if given.tiny else 10 if same else 6 if save else max(4, given.steps * 8192 // tokens)
    chosen = ["trainer.precision=32-true"] if given.tiny else MODELS[kind]
    words = [*words, *chosen, f"strategy={strategy}"]
    if strategy == "hsdp":
        words.append(f"strategy.shard={group.ranks // 2}")
    # Rows of a global batch that is the same for any number of GPUs, where numbers are compared.
    accumulate = max(1, 2 // group.ranks) if same else 1
    total = 2 * steps if same else steps + 2
    config = compose("train", [*words, f"trainer.max_steps={total}", f"trainer.accumulate={accumulate}"])
    device, launch = device_of(config.trainer, group.local), build(config.strategy)
    model, fill = made(config, group, device, launch.sharded, same)
    parameters = sum(p.numel() for p in model.parameters())
    flops = flops_of(model, peak_of(device) or 1.0)
    module = VideoLanguageModule(model, config.stage, config.optim, total, 0, "same", fill)
    record = Record(steps, device, traced=not same)
    data = Rows(config, tokens, accumulate, group, stop=steps if same else total)
    with tempfile.TemporaryDirectory() as folder:
        if not given.tiny:
            torch.cuda.reset_peak_memory_stats()
        trainer = build_trainer(config.trainer, launch, group, [record], Path(folder))
        trainer.fit(module, datamodule=data)
        found = numbers(record, flops, steps, group, device)
        found |= {"parameters": parameters, "tokens_a_gpu": tokens, "precision": config.trainer.precision}
        if save:
            found |= checkpoints(trainer, group, Path(folder), parameters)
        if same:
            found |= equal_numbers(trainer, record, group, given.kept)
    return {**found, **about(device)}


def made(config: Any, group: Group, device: torch.device, sharded: bool, same: bool) -> tuple[nn.Module, Any]:
    """The model, and what fills it once it is sharded: random weights; the same ones where numbers count."""
    dtype = torch.bfloat16 if config.trainer.precision == "bf16-true" else torch.float32
    if not sharded:
        where = "cpu" if same else device
        return build_model(config, device=where, dtype=dtype, pretrained=False), None
    if same:

        def fill(model: nn.Module) -> None:
            whole = build_model(config, dtype=dtype, pretrained=False).state_dict() if group.first else None
            deal(whole, model)

        return skeleton(config, dtype=dtype), fill

    def draw(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            local = parameter.detach().to_local()  # type: ignore[attr-defined]
            if parameter.ndim > 1:
                local.normal_(std=0.02)
            else:
                local.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)

    return skeleton(config, dtype=dtype), draw


class Rows(LightningDataModule):
    """Steps of packed rows that were made beforehand: documents of 4,096 tokens, half of them video."""

    def __init__(self, config: Any, tokens: int, accumulate: int, group: Group, stop: int) -> None:
        super().__init__()
        from vxl.compressor.plan import plan

        shape = plan(config.compressor, config.vision.grid)
        documents = max(1, round(tokens / 4096))
        length = tokens // documents
        groups = max(1, min(16, length // (2 * (shape.tokens_per_group + 8))))
        side, vocab = config.vision.pixels.size, min(config.llm.vocab, 1000)
        self.batches: list[list[Batch]] = []
        for step in range(2):
            micro = []
            for number in range(accumulate):
                place = step * 1000 + number * group.ranks + group.rank
                maker = torch.Generator().manual_seed(place)
                row = []
                for _ in range(documents):
                    encoded = Encoded()
                    for index in range(groups):
                        encoded.visual([3] * 8, Kind.TIME, index, float(index))
                        encoded.visual([0] * shape.tokens_per_group, Kind.VISUAL, index, float(index))
                    frames = groups * shape.frames_per_group
                    encoded.items.append(Item("video", frames, groups))
                    said = torch.randint(4, vocab, (max(2, length - len(encoded)),), generator=maker).tolist()
                    encoded.text(said[: len(said) // 2], question=True)
                    encoded.text(said[len(said) // 2 :], supervised=True)
                    frames_FCHW = torch.randint(
                        256, (frames, 3, side, side), dtype=torch.uint8, generator=maker
                    )
                    row.append(Example(encoded, frames_FCHW))
                micro.append(collate([row], pad=0, first_row=place))
            self.batches.append(micro)
        self.stop = stop

    def train_dataloader(self) -> Any:
        """A few steps, the two of them in turn."""
        return Steps(self.batches, self.stop)


class Steps:
    """Steps that end."""

    def __init__(self, batches: list[list[Batch]], stop: int) -> None:
        self.batches, self.stop = batches, stop

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in range(self.stop):
            yield self.batches[step % len(self.batches)]


class Record(Callback):
    """When steps ended and what they saw; a trace of the last one, in the first process."""

    def __init__(self, steps: int, device: torch.device, traced: bool) -> None:
        self.steps, self.device, self.traced = steps, device, traced
        self.ended: list[float] = []
        self.seen: list[Any] = []
        self.kernels: dict[str, float] = {}
        self.profiler: Any = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.traced and batch_idx == self.steps + 1 and self.device.type == "cuda":
            self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self.profiler.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())
        self.seen.append(pl_module.last)
        if self.profiler is not None:
            self.profiler.stop()
            self.kernels = shares(self.profiler.events(), self.ended[-1] - self.ended[-2])
            self.profiler = None
        if trainer.is_global_zero and (len(self.ended) <= 2 or len(self.ended) % 5 == 0):
            spent = self.ended[-1] - self.ended[-2] if len(self.ended) > 1 else 0.0
            say(f"  step {len(self.ended)}: loss {pl_module.last.loss:.5f}, {spent:.2f} s")


def shares(events: Any, step: float) -> dict[str, float]:
    """Of a traced step: the share of time in which collectives ran, and in which nothing else did."""
    kinds = {"all_gather": "AllGather", "reduce_scatter": "ReduceScatter", "all_reduce": "AllReduce"}
    spans: dict[str, list[tuple[float, float]]] = {"compute": [], **{kind: [] for kind in kinds}}
    for event in events:
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        kind = next((k for k, word in kinds.items() if word in event.name), None)
        if kind is None and "nccl" in event.name.lower():
            continue
        spans[kind or "compute"].append((event.time_range.start, event.time_range.end))
    talking = union([span for kind in kinds for span in spans[kind]])
    computing = union(spans["compute"])
    exposed = length(union([*talking, *computing])) - length(computing)
    whole = step * 1e6
    found = {f"{kind}_share": length(union(spans[kind])) / whole for kind in kinds}
    return found | {"collectives_alone_share": exposed / whole, "compute_share": length(computing) / whole}


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


def numbers(record: Record, flops: Any, steps: int, group: Group, device: torch.device) -> dict[str, Any]:
    """A row's numbers, without the first two steps and the traced one."""
    seen, ended = record.seen[2:steps], record.ended[1:steps]
    between = sorted(b - a for a, b in itertools.pairwise(ended))
    middle = between[len(between) // 2]
    step = seen[-1]
    operations, peak = flops.of(step), peak_of(device)
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return {
        "steps": len(between),
        "seconds_a_step": middle,
        "seconds_min_max": [between[0], between[-1]],
        "tokens_per_s_a_gpu": step.tokens / middle / group.ranks,
        "frames_a_gpu": step.frames / group.ranks,
        "tflop_a_gpu": operations / group.ranks / 1e12,
        "mfu": None if peak is None else operations / middle / peak / group.ranks,
        "peak_memory_gib": max(gathered(memory)) / 2**30,
        "loss_first_last": [record.seen[0].loss, step.loss],
        **record.kernels,
    }


def checkpoints(trainer: Any, group: Group, folder: Path, parameters: int) -> dict[str, Any]:
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


def equal_numbers(trainer: Any, record: Record, group: Group, kept: Path | None) -> dict[str, Any]:
    """Losses of the first steps; one GPU leaves its own and a checkpoint, others compare and resume."""
    losses = [step.loss for step in record.seen]
    norms = [step.grad_norm for step in record.seen]
    found: dict[str, Any] = {"losses": losses, "grad_norms": norms}
    if kept is None:
        return found
    folder, told = kept / "checkpoints" / f"step-{len(losses):06d}", kept / "losses.json"
    if group.ranks == 1:
        trainer.save_checkpoint(folder, weights_only=False)
        told.write_text(json.dumps(found))
        return found
    if not told.exists():
        return found
    theirs = json.loads(told.read_text())
    found["loss_difference_to_one_gpu"] = max(
        abs(ours / other - 1) for ours, other in zip(losses, theirs["losses"], strict=True)
    )
    before = whole_norm(trainer.strategy.lightning_module)
    trainer.strategy.load_checkpoint(folder)
    after = whole_norm(trainer.strategy.lightning_module)
    found["weights_norm_difference_after_resume_from_one_gpu"] = abs(after / before - 1)
    return found


def whole_norm(module: nn.Module) -> float:
    """The norm of all weights."""
    norms = torch.nn.utils.get_total_norm(list(module.parameters()))
    return float(norms.full_tensor() if hasattr(norms, "full_tensor") else norms)


def about(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the commit."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": os.environ.get("VXL_COMMIT") or (git(ROOT) or {}).get("commit"),
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
