"""What forgetting costs: every policy and every pruner while 2048 frames are prefilled in chunks, and at a
question.

    python experiments/021_policy_cost/bench.py --out results.json          # true Video-XL-2 shapes, one GPU
    python experiments/021_policy_cost/bench.py --tiny --out results.json   # the same in miniature, on a CPU

Visual tokens are random and on the device already: vision and compressor are left out, which no policy
changes. `kv=full` runs first and last. Each row is the median of three runs behind a shorter one (of one run
where it takes more than 6 seconds), and is written when it is there.
"""

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from vxl.cli.bench.prompt import head_of
from vxl.generate import Context, ask, watch
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.model import VideoLanguageModel, build_model
from vxl.option.build import build
from vxl.option.files import CONF
from vxl.option.schema import schema_of
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import FullConfig
from vxl.prefill.summarizing import around
from vxl.prune.base import VideoTokens
from vxl.prune.none import KeepEverythingConfig
from vxl.run.provenance import commit_of

sys.path.append(str(Path(__file__).parents[1]))
from videoxl2_shapes import parts_of

GIB = 1 << 30
GROUPS = 64
"""Groups of a piece: 256 frames."""
NEW = 33
"""Tokens of an answer whose decoding is timed."""
BY_NAME = ("vst", "x2l")
"""Policies with weights of their own: measured where they are named, on a model that has these."""
WARM = ("knorm", "tova")
"""Policies that run once before any is measured."""
SETTINGS: dict[str, dict[str, Any]] = {
    "streaming": {"keep": 0.25, "tokens": None},
    "x2l": {"groups": 10, "chunks": None},
}
"""Keys beside `keep` that a policy needs here."""
HELD: dict[str, dict[str, Any]] = {
    "bits=4": {"bits": 4},
    "bits=8": {"bits": 8},
    "offload=true": {"offload": True},
    "bits=4 offload=true": {"bits": 4, "offload": True},
}
"""How what was watched is held, with `kv=full`; the last with `kv=snapkv`, too."""
WINDOWS: dict[str, dict[str, Any]] = {"local=15000": {"local": 15_000}}
"""What a token attends to while `kv=rekv` watches, instead of the chunks of all other rows."""
SLOW = 6.0
"""Seconds of prefill above which a policy runs once, and above which a fourth of the frames is enough."""


def prefill_of(tiny: bool) -> ChunkedConfig:
    """In chunks, as Video-XL-2 watches."""
    return ChunkedConfig(groups=2 if tiny else GROUPS, time_rows="window")


TEXTS = ("question", "words", "suffix", "first", "later", "local_question", "global_question", "between")
"""Keys that hold a text, for which tokens stand here."""


def option(group: str, name: str, keep: float, tiny: bool) -> Any:
    """An option's settings as its file has them, at a budget of `keep` where it has one."""
    values = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    if "keep" in values:
        values |= {"keep": keep}
        values |= {key: None for key in ("tokens", "mib", "groups") if key in values}
    values |= SETTINGS.get(name, {})
    values |= {key: list(range(100, 124)) for key in TEXTS if isinstance(values.get(key), str)}
    if tiny and "of" in values and name != "streaming":  # a small group has more time text than visual tokens
        values |= {"of": "visual"}
    return schema_of(values["_target_"])(**values)


class Stub:
    """In place of the encoder: random visual tokens, and what the tower would tell of them."""

    def __init__(self, model: VideoLanguageModel) -> None:
        tokens, width = model.compressor.tokens_per_group, model.llm.width
        place = next(model.llm.parameters())
        made = torch.Generator(place.device).manual_seed(0)
        self.visual_GKD = torch.randn(
            512, tokens, width, generator=made, device=place.device, dtype=place.dtype
        )
        # Neighbouring groups resemble each other, as a video's do.
        self.visual_GKD = (self.visual_GKD + self.visual_GKD.roll(1, 0) + self.visual_GKD.roll(2, 0)) / 3**0.5
        self.attention_GK = torch.rand(512, tokens, generator=made, device=place.device)
        self.frames_per_group, self.done = model.compressor.frames_per_group, 0

    def __call__(self, frames_FCHW: Tensor) -> tuple[VideoTokens, Tensor]:
        groups = len(frames_FCHW) // self.frames_per_group
        of_piece = slice(self.done % 512, self.done % 512 + groups)
        self.done += groups
        visual_GKD = self.visual_GKD[of_piece]
        keys_GKE = visual_GKD[..., : visual_GKD.shape[-1] // 8]
        return VideoTokens(visual_GKD, self.attention_GK[of_piece], keys_GKE), frames_FCHW.new_zeros(0)


def shown(model: VideoLanguageModel, frames: int) -> Iterator[Tensor]:
    """Frames of no content: only their number counts."""
    size = model.vision.pixels.size
    blank_FCHW = torch.zeros(1, 3, size, size, dtype=torch.uint8).expand(4 * GROUPS, -1, -1, -1)
    for start in range(0, frames, 4 * GROUPS):
        yield blank_FCHW[: frames - start]


def measure(model: VideoLanguageModel, frames: int, decode: bool = True) -> dict[str, Any]:
    """Watching once, and two questions; the second answered at length, if wanted."""
    cuda = model.device.type == "cuda"
    model.encode_for_pruner = Stub(model)  # ty: ignore[invalid-assignment]
    head = head_of(model, frames)
    question = np.random.default_rng(1).integers(model.llm.vocab, size=40).tolist()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    context: Context = watch(model, head, [list(shown(model, frames))])
    peak = torch.cuda.max_memory_allocated() / GIB if cuda else None
    first = ask(context, question, max_new_tokens=1, texts=["What happens?"])
    second = ask(context, question[::-1], max_new_tokens=1, texts=["What happens?"])
    answer = second
    if decode:  # the first captures the graph where there is one
        ask(context, question, max_new_tokens=3, texts=["What happens?"])
        answer = ask(context, question, max_new_tokens=NEW, texts=["What happens?"])
    return {
        "frames": frames,
        "visual_tokens": context.visual_tokens,
        "watch_s": round(context.watch_ms / 1000, 4),
        "prefill_s": round(context.prefill_ms / 1000, 4),
        "first_question_ms": round(first.prefill_ms, 2),
        "second_question_ms": round(second.prefill_ms, 2),
        "decode_tok_s": round(answer.decode_tokens_per_s, 2),
        "context_gib": round(context.cache_bytes / GIB, 4),
        "cache_gib": round(second.cache_bytes / GIB, 4),
        "peak_gib": peak if peak is None else round(peak, 2),
    }


def measured(model: VideoLanguageModel, frames: int, seconds: float) -> dict[str, Any]:
    """The medians of three runs, of one where a run is slow or it would end after so many seconds."""
    began = time.perf_counter()
    short = min(512, frames)
    runs = [measure(model, short)]
    if runs[0]["watch_s"] < SLOW:
        runs = [measure(model, frames)]
    for _ in range(2):
        if runs[0]["watch_s"] < SLOW and 2 * (time.perf_counter() - began) < seconds:
            runs.append(measure(model, frames, decode=False))
    row = dict(runs[0])
    for key in ("watch_s", "prefill_s", "first_question_ms", "second_question_ms"):
        row[key] = statistics.median(run[key] for run in runs)
    return row | {"runs": len(runs)}


Row = tuple[str, str, str]
"""Group, name, and how it is held or watched (a key of `HELD` or `WINDOWS`, or nothing)."""


def rows_of(names: list[str] | None) -> list[Row]:
    """What is measured, in the order of `names`; the full cache first and last."""
    every: list[Row] = [
        (group, file.stem, "") for group in ("kv", "prune") for file in sorted((CONF / group).glob("*.yaml"))
    ]
    left_out = {"full", "none", *BY_NAME}.difference(names or ())
    every = [row for row in every if row[1] not in left_out]
    every += [("kv", "full", held) for held in HELD] + [("kv", "snapkv", [*HELD][-1])]
    every += [("kv", "rekv", window) for window in WINDOWS]
    if names:
        every = [row for name in dict.fromkeys(names) for row in every if name in (row[1], row[2])]
    return [("kv", "full", ""), *dict.fromkeys(every), ("kv", "full", "")]


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--frames", type=int, default=2048)
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--names", nargs="*", default=None)
    parser.add_argument("--commit", default=None, help="where the folder is no git repository")
    parser.add_argument("--profile", nargs="*", default=(), help="policies that are profiled at the end")
    parser.add_argument(
        "--profile-above", type=float, default=None, help="so are those that cost more, in %%"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no row after this many")
    arguments = parser.parse_args()
    began = time.perf_counter()
    commit = arguments.commit or commit_of(Path(__file__).parents[2])
    device = torch.device("cpu" if arguments.tiny else "cuda")
    dtype = torch.float32 if arguments.tiny else torch.bfloat16
    with_weights = [name for name in BY_NAME if name in (arguments.names or ())]
    kv = option("kv", with_weights[0], arguments.keep, arguments.tiny) if with_weights else None
    parts = parts_of(prefill_of(arguments.tiny), kv=kv, tiny=arguments.tiny)
    model = build_model(parts, device=device, dtype=dtype).eval()
    name = "CPU" if arguments.tiny else torch.cuda.get_device_name()
    set_row(model, ("kv", "full", ""), arguments)
    measure(model, min(512, arguments.frames))  # kernels are compiled and libraries loaded
    named = [name for name in WARM if name in (arguments.names or WARM)] or WARM[:1]
    for option_name in named if not with_weights else ():  # kernels are compiled for several lengths
        set_row(model, ("kv", option_name, ""), arguments)
        measure(model, arguments.frames)
    print(f"{name}, warm after {time.perf_counter() - began:.1f} s", flush=True)
    rows: list[dict[str, Any]] = []
    profiled: list[Row] = [("kv", name, "") for name in arguments.profile]
    for each in rows_of(arguments.names):
        group, option_name, held = each
        left = arguments.seconds - (time.perf_counter() - began)
        if left < 0:
            print(f"no time for {group}={option_name} {held}", flush=True)
            continue
        row: dict[str, Any] = {group: option_name, "keep": arguments.keep} | ({"held": held} if held else {})
        try:
            set_row(model, each, arguments)
            row |= measured(model, arguments.frames, left)
        except Exception as error:
            traceback.print_exc(limit=-3)
            row |= {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        row |= {"device": name, "torch": torch.__version__, "commit": commit}
        rows.append(row)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(row), flush=True)
        share = row.get("watch_s", 0) / row.get("frames", 1) / (rows[0]["watch_s"] / rows[0]["frames"])
        if arguments.profile_above is not None and 100 * (share - 1) > arguments.profile_above:
            profiled.append(each)
    for each in dict.fromkeys(profiled):
        if time.perf_counter() - began > arguments.seconds + 30:
            print(f"no time for a profile of {each}", flush=True)
            continue
        set_row(model, each, arguments)
        print(f"{each[0]}={each[1]} {each[2]}".rstrip())
        profile(model, min(256, arguments.frames))


def set_row(model: VideoLanguageModel, row: Row, arguments: argparse.Namespace) -> None:
    """Exchanges the model's policy, or its pruner, for a row's."""
    group, name, held = row
    model.policy, model.pruner = build(KeepAllConfig()), build(KeepEverythingConfig())
    if group == "kv":
        made = option("kv", name, arguments.keep, arguments.tiny)
        model.policy = build(replace(made, **(HELD | WINDOWS)[held]) if held else made)
        if name not in BY_NAME:  # whose weights are there already
            model.policy.equip(model.llm)
    else:
        model.pruner = build(option("prune", name, arguments.keep, arguments.tiny))
    watched = FullConfig() if held in WINDOWS else prefill_of(arguments.tiny)
    model.prefill = around(build(watched), model.policy, 0)


def profile(model: VideoLanguageModel, frames: int) -> None:
    """Prints where the time of watching goes, by kernel and by call."""
    model.encode_for_pruner = Stub(model)  # ty: ignore[invalid-assignment]
    activities = [torch.profiler.ProfilerActivity.CPU]
    if model.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as seen:
        watch(model, head_of(model, frames), [list(shown(model, frames))])
    averages = seen.key_averages()
    kernels = sorted(averages, key=lambda event: event.self_device_time_total, reverse=True)[:14]
    calls = sorted(averages, key=lambda event: event.self_cpu_time_total, reverse=True)[:14]
    for title, events, attribute in (
        ("device", kernels, "self_device_time_total"),
        ("host", calls, "self_cpu_time_total"),
    ):
        print(f"profile of {frames} frames, {title}: milliseconds, calls, name")
        for event in events:
            print(f"  {getattr(event, attribute) / 1000:10.1f} {event.count:8d} {event.key[:80]}")


if __name__ == "__main__":
    main()
