"""Visual summarization tokens, measured: from frames to the first token, and a training step (Video-XL).

    python experiments/004_vst/bench.py --out results.json          # true Video-XL shapes, one GPU
    python experiments/004_vst/bench.py --tiny --out results.json   # the same in miniature, on a CPU

Weights are random and made on the device; frames are uint8 there already, one random piece shown again and
again, and do not count as memory. Rows are written as they come.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.cli.bench.prompt import head_of
from vxl.compressor.pool import PoolConfig
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.encoded import Encoded
from vxl.generate import ask, watch
from vxl.kv.vst import VST, VSTConfig
from vxl.llm.decoder import DecoderConfig
from vxl.llm.lora import LoRAConfig
from vxl.model import VideoLanguageModel, build_model
from vxl.parts import ModelParts
from vxl.prefill.full import FullConfig
from vxl.prefill.summarizing import Summarizing
from vxl.relevance.uniform import UniformConfig as UniformScoresConfig
from vxl.run.provenance import commit_of
from vxl.sequence.layout import Kind
from vxl.train.step.stage import StageConfig, cast_frozen, freeze, train_mode
from vxl.video.sample import UniformConfig
from vxl.vision.clip import ClipConfig

GIB = 1 << 30
FRAMES = (128, 256, 512, 1024, 2048)
RATIOS = (2, 4, 8, 16, 32)
PIECE = 320
"""Frames that are encoded and prefilled at once: 5 slices of the tower, 32 windows of the language model."""
TRAINED = 128
"""Frames of the sample that is trained on: 13 windows."""
ROOT = Path(__file__).parents[2]


class Machine:
    """Where it runs, and its clock and memory."""

    def __init__(self, tiny: bool, commit: str | None) -> None:
        self.tiny = tiny
        self.device = torch.device("cpu" if tiny else "cuda")
        name = f"{platform.machine()} CPU" if tiny else torch.cuda.get_device_name()
        commit = commit or os.environ.get("VXL_COMMIT") or commit_of(ROOT)
        self.about = {"device": name, "torch": torch.__version__, "commit": commit}

    def now(self) -> float:
        """Seconds, when the device is done."""
        if not self.tiny:
            torch.cuda.synchronize()
        return time.perf_counter()

    def peak(self, action: Callable[[], Any]) -> tuple[Any, float | None]:
        """(result, highest memory meanwhile in GiB, None on a CPU)."""
        if self.tiny:
            return action(), None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        result = action()
        return result, torch.cuda.max_memory_allocated() / GIB


def settings(tiny: bool, *, lora: int = 0) -> ModelParts:
    """The parts; true sizes are those of Video-XL."""
    if tiny:
        vision = ClipConfig(size=56, width=64, mlp=96, heads=4, layers=1)
        sizes = {"vocab": 1024, "width": 64, "mlp": 96, "layers": 2, "heads": 4, "kv_heads": 2}
    else:
        vision = ClipConfig()
        sizes = {"vocab": 152064, "width": 3584, "mlp": 18944, "layers": 28, "heads": 28, "kv_heads": 4}
    return ModelParts(
        model="videoxl",
        size="tiny" if tiny else "published",
        video=UniformConfig(),
        vision=vision,
        compressor=PoolConfig(),
        llm=DecoderConfig(**sizes, checkpointing=lora > 0, lora=LoRAConfig(rank=lora)),
        prefill=FullConfig(groups=20 if tiny else PIECE),
        kv=VSTConfig(),
        relevance=UniformScoresConfig(),
    )


def made(machine: Machine, *, lora: int = 0) -> VideoLanguageModel:
    """A model of random weights."""
    dtype = torch.float32 if machine.tiny else torch.bfloat16
    return build_model(settings(machine.tiny, lora=lora), device=machine.device, dtype=dtype)


def set_ratio(model: VideoLanguageModel, ratio: int) -> None:
    """Exchanges how many visual tokens one summary token stands for."""
    model.policy = policy = VST(VSTConfig(ratio=ratio))
    model.prefill = Summarizing(model.prefill, policy, seed=0)


def shown(piece_FCHW: Tensor, frames: int) -> list[Tensor]:
    """A video of so many frames."""
    whole, rest = divmod(frames, len(piece_FCHW))
    return [piece_FCHW] * whole + ([piece_FCHW[:rest]] if rest else [])


def flops(model: VideoLanguageModel, head: Encoded, ratio: int) -> float:
    """Operations from frames to the first token: two for each multiplication with an addition."""
    vision, llm = model.vision, model.llm.causal_lm.config
    frames, visual = head.items[0].frames, head.kind.count(Kind.VISUAL)
    patches, width = vision.patches + 1, vision.width
    block = 2 * patches * (4 * width**2 + 2 * width * vision.config.mlp) + 4 * patches**2 * width
    encode = vision.config.layers * block + 2 * vision.patches * 3 * vision.config.patch**2 * width
    encode += 2 * vision.patches * (width * llm.hidden_size + llm.hidden_size**2)
    query, kv = llm.num_attention_heads * llm.head_dim, llm.num_key_value_heads * llm.head_dim
    linear = llm.hidden_size * (2 * query + 2 * kv + 3 * llm.intermediate_size)
    own, pairs, kept = 10 * model.compressor.tokens_per_group, 0.0, 0.0
    for start in range(0, visual, own):
        part = min(own, visual - start)
        beacons = -(-part // ratio)
        pairs += (part + beacons) * (kept + (part + beacons + 1) / 2)
        kept += beacons
    tokens = len(head) + kept
    return frames * encode + llm.num_hidden_layers * (2 * tokens * linear + 4 * pairs * query)


def watched(
    model: VideoLanguageModel, piece_FCHW: Tensor, frames: int, ratio: int, machine: Machine
) -> dict[str, Any]:
    """One watching and the first token of an answer."""
    set_ratio(model, ratio)
    head = head_of(model, frames, timed=False)
    question = np.random.default_rng(1).integers(model.llm.vocab, size=40).tolist()

    def act() -> tuple[Any, Any, float]:
        began = machine.now()
        context = watch(model, head, [shown(piece_FCHW, frames)])
        answer = ask(context, question, max_new_tokens=1)
        return context, answer, machine.now() - began

    (context, answer, seconds), peak = machine.peak(act)
    return {
        "frames": frames,
        "ratio": ratio,
        "tokens": context.tokens,
        "kept": context.cache.entries(),
        "encode_s": round((context.watch_ms - context.prefill_ms) / 1000, 3),
        "prefill_s": round(context.prefill_ms / 1000, 3),
        "ttft_s": round(seconds, 3),
        "peak_gib": None if peak is None else round(peak - piece_FCHW.nbytes / GIB, 2),
        "cache_bytes": answer.cache_bytes,
        "tflops": round(flops(model, head, ratio) / 1e12 / seconds, 2),
        **machine.about,
    }


def sample_of(model: VideoLanguageModel, frames_FCHW: Tensor) -> Batch:
    """A conversation about one video, of whose 200 last tokens 100 are supervised."""
    random = np.random.default_rng(2)
    encoded = head_of(model, len(frames_FCHW), timed=False)
    encoded.text(random.integers(model.llm.vocab, size=100).tolist())
    encoded.text(random.integers(model.llm.vocab, size=100).tolist(), supervised=True)
    return collate([[Example(encoded, frames_FCHW.cpu())]], pad=0)


class Training:
    """Optimizer steps on one sample: LoRA and the beacons' weights of the language model, and the projector.

    As `trainer.precision=bf16-mixed trainer.frozen=bf16`: what learns is float32.
    """

    def __init__(self, machine: Machine, frames_FCHW: Tensor) -> None:
        self.machine = machine
        self.model = model = made(machine, lora=4 if machine.tiny else 64)
        set_ratio(model, 8)
        stage = StageConfig(train=["projector", "llm"])
        freeze(model, stage)
        if not machine.tiny:
            cast_frozen(model, "bf16")
        train_mode(model, stage)
        self.learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in self.learns:
            parameter.data = parameter.data.float()
        self.optimizer = torch.optim.AdamW(self.learns, lr=1e-5, fused=not machine.tiny)
        self.batch = sample_of(model, frames_FCHW).to(machine.device)

    def step(self) -> tuple[float, dict[str, float]]:
        """(the loss, seconds of each part)."""
        marks = [self.machine.now()]
        with torch.autocast(self.machine.device.type, torch.bfloat16, enabled=not self.machine.tiny):
            output = self.model(self.batch)
            loss = output.loss_sum / output.supervised
        marks.append(self.machine.now())
        loss.backward()
        marks.append(self.machine.now())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        marks.append(self.machine.now())
        names = ("forward_s", "backward_s", "optimizer_s")
        return loss.item(), {n: b - a for n, a, b in zip(names, marks, marks[1:], strict=False)}


def trained(
    machine: Machine, frames_FCHW: Tensor, *, steps: int = 3, profiled: bool = False
) -> dict[str, Any]:
    """Some steps of training, after one that is not counted."""
    training = Training(machine, frames_FCHW)
    taken, peak = machine.peak(lambda: [training.step() for _ in range(1 + steps)])
    losses, spent = zip(*taken, strict=True)
    means = {name: sum(each[name] for each in spent[1:]) / steps for name in spent[0]}
    total, tokens = sum(means.values()), training.batch.tokens
    if profiled:
        profile_training(training)
    return {
        "training": "LoRA of rank 64, beacons and projector" if not machine.tiny else "in miniature",
        "frames": len(frames_FCHW),
        "windows": -(-len(frames_FCHW) // 10),
        "ratio": 8,
        "tokens": tokens,
        "learns": sum(parameter.numel() for parameter in training.learns),
        **{name: round(seconds, 4) for name, seconds in means.items()},
        "step_s": round(total, 4),
        "tokens_per_s": round(tokens / total, 1),
        "loss_first_last": [round(losses[0], 4), round(losses[-1], 4)],
        "peak_gib": None if peak is None else round(peak, 2),
        **machine.about,
    }


def profile_training(training: Training) -> None:
    """Prints where a step's time goes: by kernel, and in another step by function of the host."""
    if not training.machine.tiny:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
            training.step()
        show_kernels(seen)
    host = cProfile.Profile()
    host.runcall(training.step)
    pstats.Stats(host).sort_stats("tottime").print_stats(25)


def profile(model: VideoLanguageModel, piece_FCHW: Tensor, frames: int, ratio: int) -> None:
    """Prints where the time goes, by kernel."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    set_ratio(model, ratio)
    with torch.profiler.profile(activities=activities) as seen:
        watch(model, head_of(model, frames, timed=False), [shown(piece_FCHW, frames)])
        torch.cuda.synchronize()
    waits = [e for e in seen.key_averages() if "Synchronize" in e.key]
    show_kernels(seen)
    for event in waits:
        print(f"{event.self_cpu_time_total / 1e3:9.1f} ms {event.count:7d} {event.key}", flush=True)


def show_kernels(seen: Any) -> None:
    """Prints the longest kernels of a trace."""
    kernels = [e for e in seen.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA]
    print(f"kernels {sum(e.self_device_time_total for e in kernels) / 1e3:.0f} ms", flush=True)
    for event in sorted(kernels, key=lambda e: -e.self_device_time_total)[:22]:
        print(f"{event.self_device_time_total / 1e3:9.1f} ms {event.count:7d} {event.key[:100]}")


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--frames", type=int, nargs="*", default=list(FRAMES))
    parser.add_argument("--ratios", type=int, nargs="+", default=list(RATIOS))
    parser.add_argument("--train", type=int, default=TRAINED, help="frames of the training step, 0 for none")
    parser.add_argument("--commit", default=None, help="where the folder is no git repository")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no row after this many")
    parser.add_argument("--profile", type=int, default=0, help="frames to profile")
    parser.add_argument("--profile-training", action="store_true", help="print where a training step goes")
    given = parser.parse_args()
    began = time.perf_counter()
    machine = Machine(given.tiny, given.commit)
    size, length = settings(given.tiny).vision.size, 20 if given.tiny else PIECE
    piece_FCHW = torch.randint(0, 256, (length, 3, size, size), dtype=torch.uint8, device=machine.device)
    rows: list[dict[str, Any]] = []

    def take(action: Callable[[], dict[str, Any]]) -> None:
        try:
            rows.append(action())
        except Exception:
            traceback.print_exc()
            return
        given.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(rows[-1]), flush=True)

    if given.train:
        shown_FCHW = piece_FCHW[: given.train]
        take(partial(trained, machine, shown_FCHW, profiled=given.profile_training))
    if not given.frames:
        return
    model = made(machine).eval()
    print(f"{machine.about}, built after {time.perf_counter() - began:.1f} s", flush=True)
    for ratio in given.ratios[:2]:  # kernels are compiled and libraries loaded before anything is timed
        watched(model, piece_FCHW, min(given.frames), ratio, machine)
    print(f"warm after {time.perf_counter() - began:.1f} s", flush=True)
    if given.profile:
        profile(model, piece_FCHW, given.profile, 16)
    cells = [(frames, ratio) for frames in given.frames for ratio in given.ratios]
    for frames, ratio in sorted(
        cells, key=lambda cell: flops(model, head_of(model, cell[0], timed=False), cell[1])
    ):
        if time.perf_counter() - began < given.seconds:
            take(partial(watched, model, piece_FCHW, frames, ratio, machine))


if __name__ == "__main__":
    main()
