"""Watch once, ask many times, measured: time and memory against frames, dense and chunked, full and bi-level.

    python experiments/005_watch_once/bench.py --out results.json          # true Video-XL-2 shapes, one GPU
    python experiments/005_watch_once/bench.py --tiny --out results.json   # the same in miniature, on a CPU

Weights are random and made on the device; frames are uint8 there already, one random piece shown again and
again, and do not count as memory. Rows are written as they come.
"""

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.cli.bench.prompt import head_of
from vxl.data.batch.encoded import Encoded
from vxl.generate import ask, watch
from vxl.kv.bilevel import Bilevel, BilevelConfig
from vxl.kv.full import Full as KeepAll
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.model import VideoLanguageModel, build_model
from vxl.parts import ModelParts
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.prefill.full import Full, FullConfig
from vxl.run.provenance import commit_of
from vxl.sequence.layout import Kind
from vxl.video.load import stream_video
from vxl.video.sample import Fps, FpsConfig
from vxl.weights.fp8 import Fp8

sys.path.append(str(Path(__file__).parents[1]))
from videoxl2_shapes import parts_of

GIB = 1 << 30
FRAMES = (128, 256, 512, 1024, 2048, 4096, 10000)
MODES = ("dense", "chunked-window", "chunked-all")
PIECE = 256
"""Frames that are encoded and prefilled at once."""
NEW = 65
"""Tokens of an answer whose decoding is timed."""


def set_prefill(model: VideoLanguageModel, mode: str) -> None:
    """Exchanges how the model prefills."""
    groups = PIECE // 4
    if mode == "dense":
        model.prefill = Full(FullConfig(groups=groups))
    else:
        time_rows: Any = mode.removeprefix("chunked-")
        model.prefill = Chunked(ChunkedConfig(groups=groups, time_rows=time_rows))


def set_policy(model: VideoLanguageModel, kv: str) -> None:
    """Exchanges what a question reads: everything, or 40 % of it on two levels."""
    model.policy = Bilevel(BilevelConfig(keep=0.4)) if kv == "bilevel" else KeepAll(KeepAllConfig())


def question_of(model: VideoLanguageModel, seed: int) -> list[int]:
    """Tokens of a question with its turns."""
    return np.random.default_rng(seed).integers(model.llm.vocab, size=40).tolist()


def flops(model: VideoLanguageModel, head: Encoded, mode: str) -> float:
    """Operations from frames to the first token: two for each multiplication with an addition."""
    vision, llm = model.vision, model.llm.causal_lm.config
    patches, width, inner = vision.patches, vision.width, vision.config.mlp
    block = 2 * patches * (4 * width**2 + 2 * width * inner) + 4 * patches**2 * width
    frames = sum(item.frames for item in head.items)
    per_frame = vision.config.layers * block + 2 * patches * 3 * vision.config.patch**2 * width
    grid = model.compressor.shape.grid**2
    per_group = 0.0
    for time_in in (4, 2):  # spatial attention, temporal attention, convolution
        per_group += time_in * (8 * grid * width**2 + 4 * grid**2 * width + 8 * grid * width**2)
        per_group += time_in / 2 * 2 * grid * 27 * width**2
    per_group += 2 * grid * (width * llm.hidden_size + llm.hidden_size**2)
    heads = llm.num_attention_heads * llm.head_dim
    kv = llm.num_key_value_heads * llm.head_dim
    linear = llm.hidden_size * (2 * heads + 2 * kv + 3 * llm.intermediate_size)
    total = frames * per_frame + frames / 4 * per_group + 2 * len(head) * llm.num_hidden_layers * linear
    return total + 4 * pairs(model, head, mode) * heads * llm.num_hidden_layers


def pairs(model: VideoLanguageModel, head: Encoded, mode: str) -> float:
    """How many (query, key) pairs the mask of a mode has."""
    kind, group = np.array(head.kind), np.array(head.group)
    column = np.arange(len(kind))
    if mode == "dense":
        return float((column + 1).sum())
    prefill = model.prefill
    assert isinstance(prefill, Chunked)
    first_of_group = np.searchsorted(group[group >= 0], np.arange(group.max() + 1)) + int((group < 0).sum())
    chunk = np.where(group >= 0, group // prefill.config.groups_per_chunk, -1)
    since_chunk = np.maximum(chunk - prefill.config.previous_chunks, 0)
    since = np.where(
        chunk > prefill.config.previous_chunks,
        first_of_group[since_chunk * prefill.config.groups_per_chunk],
        0,
    )
    if mode == "chunked-all":
        since = np.where(kind == Kind.TIME, 0, since)
    carried = np.concatenate([[0], np.cumsum(kind != Kind.VISUAL)])
    return float((carried[since] + column + 1 - since).sum())


class Machine:
    """Where it runs, and its clock and memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self.name = torch.cuda.get_device_name() if self.cuda else f"{platform.machine()} CPU"

    def now(self) -> float:
        """Seconds, when the device is done."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def peak(self, action: Callable[[], Any]) -> tuple[Any, float]:
        """(result, highest memory meanwhile in GiB, nan on a CPU)."""
        if not self.cuda:
            return action(), float("nan")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        result = action()
        return result, torch.cuda.max_memory_allocated() / GIB


def measure(
    model: VideoLanguageModel,
    piece_FCHW: Tensor,
    frames: int,
    mode: str,
    levels: list[str],
    machine: Machine,
    commit: str,
) -> list[dict[str, Any]]:
    """One watching, and a row for each `kv` that questions about it are asked with."""
    set_prefill(model, mode)
    set_policy(model, "full")  # both keep everything while watching
    head = head_of(model, frames)
    whole, rest = divmod(sum(item.frames for item in head.items), len(piece_FCHW))
    shown = [piece_FCHW] * whole + ([piece_FCHW[:rest]] if rest else [])
    held = piece_FCHW.nbytes / GIB if machine.cuda else 0.0
    began = machine.now()
    context, watch_peak = machine.peak(lambda: watch(model, head, [shown]))
    watch_s = machine.now() - began
    # What a token must read: every weight but the embedding table, and the cache.
    table = model.llm.causal_lm.get_input_embeddings().weight
    weights = sum(p.nbytes for p in model.llm.parameters()) - table.nbytes
    rows = []
    for kv in levels:
        set_policy(model, kv)
        seconds = []
        for seed in (1, 2):
            began = machine.now()
            _, peak = machine.peak(partial(ask, context, question_of(model, seed), max_new_tokens=1))
            seconds.append(machine.now() - began)
        ask(context, question_of(model, 3), max_new_tokens=3)  # captures the graph where there is one
        answer = ask(context, question_of(model, 4), max_new_tokens=NEW)
        highest = max(watch_peak, peak) - held
        row = {
            "frames": frames,
            "tokens": context.tokens,
            "mode": mode.split("-")[0],
            "time_rows": None if mode == "dense" else mode.removeprefix("chunked-"),
            "kv": kv,
            "encode_s": round((context.watch_ms - context.prefill_ms) / 1000, 4),
            "prefill_s": round(context.prefill_ms / 1000, 4),
            "ttft_s": round(watch_s + seconds[0], 4),
            "second_question_s": round(seconds[1], 4),
            "decode_tok_s": round(answer.decode_tokens_per_s, 2),
            "read_gb_per_token": round((weights + answer.cache_bytes) / 1e9, 3),
            "cache_gib": round(answer.cache_bytes / GIB, 3),
            "peak_gib": round(highest, 2) if machine.cuda else None,
            "tflops": round(flops(model, head, mode) / 1e12 / (watch_s + seconds[0]), 2),
            "device": machine.name,
            "torch": torch.__version__,
            "commit": commit,
        }
        rows.append(row)
    return rows


def measure_file(model: VideoLanguageModel, path: Path, machine: Machine, commit: str) -> dict[str, Any]:
    """A row from file to answer: decoded and resized on the host's cores while the model is at it."""
    set_prefill(model, "chunked-window")
    set_policy(model, "full")
    began = machine.now()
    sampler = Fps(FpsConfig(max_frames=3600))
    stream = stream_video(path, sampler, model.vision.pixels, piece=PIECE)
    head = head_of(model, len(stream.seconds))
    context, peak = machine.peak(lambda: watch(model, head, [stream.pieces]))
    answer = ask(context, question_of(model, 1), max_new_tokens=NEW)
    return {
        "frames": context.frames,
        "tokens": context.tokens,
        "mode": "file",
        "time_rows": "window",
        "kv": "full",
        "video_seconds": round(stream.info.frames / stream.info.fps, 1),
        "watch_s": round(context.watch_ms / 1000, 4),
        "prefill_s": round(context.prefill_ms / 1000, 4),
        "answered_s": round(machine.now() - began, 4),
        "answer_tokens": len(answer.tokens),
        "peak_gib": round(peak, 2) if machine.cuda else None,
        "device": machine.name,
        "torch": torch.__version__,
        "commit": commit,
    }


def in_fp8(parts: ModelParts, names: Sequence[str], tiny: bool) -> ModelParts:
    """The same parts, some of them in float8: the card's own, or emulated on the CPU."""
    how: Fp8 = "emulated" if tiny else True
    for name in names:
        parts = replace(parts, **{name: replace(getattr(parts, name), fp8=how)})
    return parts


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--frames", type=int, nargs="*", default=list(FRAMES))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--kv", nargs="+", default=["full", "bilevel"], choices=["full", "bilevel"])
    parser.add_argument("--commit", default=None, help="where the folder is no git repository")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no row after this many")
    parser.add_argument("--video", type=Path, default=None, help="a file to watch, at a frame a second")
    parser.add_argument("--fp8", nargs="*", default=[], choices=["vision", "llm"], help="parts in float8")
    parser.add_argument("--compile", action="store_true", help="the tower's blocks through torch.compile")
    parser.add_argument("--profile", type=int, nargs="*", default=[], help="frames to profile")
    arguments = parser.parse_args()
    began = time.perf_counter()
    device = torch.device("cpu" if arguments.tiny else "cuda")
    commit = arguments.commit or commit_of(Path(__file__).parents[2])
    machine = Machine(device)
    dtype = torch.float32 if arguments.tiny else torch.bfloat16
    parts = in_fp8(
        parts_of(FullConfig(groups=PIECE // 4), tiny=arguments.tiny), arguments.fp8, arguments.tiny
    )
    model = build_model(parts, device=device, dtype=dtype).eval()
    model.to_fp8()
    for block in model.vision.blocks if arguments.compile else ():
        block.compile(dynamic=True)  # slices and the last, shorter one share a program
    size = model.vision.pixels.size
    piece_FCHW = torch.randint(0, 256, (PIECE, 3, size, size), dtype=torch.uint8, device=device)
    print(f"{machine.name}, built in {time.perf_counter() - began:.1f} s", flush=True)
    for mode in (
        arguments.modes if arguments.frames else ()
    ):  # kernels are compiled and libraries loaded before anything is timed
        measure(model, piece_FCHW, 2 * PIECE, mode, arguments.kv, machine, commit)
    print(f"warm after {time.perf_counter() - began:.1f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for frames in arguments.frames:
        for mode in arguments.modes:
            if time.perf_counter() - began > arguments.seconds:
                print(f"no time for {frames} {mode}", flush=True)
                continue
            try:
                found = measure(model, piece_FCHW, frames, mode, arguments.kv, machine, commit)
            except Exception:
                traceback.print_exc()
                continue
            settings = {"fp8": arguments.fp8, "compile": arguments.compile}
            found = [row | {key: value for key, value in settings.items() if value} for row in found]
            rows += found
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
            for row in found:
                print(json.dumps(row), flush=True)
    if arguments.video is not None:
        row = measure_file(model, arguments.video, machine, commit)
        rows.append(row)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(row), flush=True)
    for frames in arguments.profile:
        profile(model, piece_FCHW, frames, machine)


def profile(model: VideoLanguageModel, piece_FCHW: Tensor, frames: int, machine: Machine) -> None:
    """Prints where the time of watching and asking goes, by kernel."""
    set_prefill(model, "chunked-window")
    set_policy(model, "full")
    head = head_of(model, frames)
    shown = [piece_FCHW] * (frames // len(piece_FCHW))
    activities = [
        torch.profiler.ProfilerActivity.CUDA if machine.cuda else torch.profiler.ProfilerActivity.CPU
    ]
    with torch.profiler.profile(activities=activities) as seen:
        context = watch(model, head, [shown])
        machine.now()
    print(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=70))
    ask(context, question_of(model, 3), max_new_tokens=3)
    with torch.profiler.profile(activities=activities) as seen:
        ask(context, question_of(model, 3), max_new_tokens=17)
        machine.now()
    print(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=14, max_name_column_width=70))


if __name__ == "__main__":
    main()
