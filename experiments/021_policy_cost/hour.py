"""An hour of video on a GPU of 24 GB: what was watched in codes of four bits, on the host; ten questions.

    python experiments/021_policy_cost/hour.py --out hour.json          # true Video-XL-2 shapes, one GPU
    python experiments/021_policy_cost/hour.py --tiny --out hour.json   # the same in miniature, on a CPU

3600 frames, one a second, random and on the host; vision, compressor and language model with random weights.
PyTorch may take `--gib` of the GPU's memory and no more.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))

from bench import GIB, prefill_of
from videoxl2_shapes import parts_of

from vxl.cli.bench.prompt import head_of
from vxl.generate import ask, watch
from vxl.kv.full import FullConfig
from vxl.model import build_model
from vxl.option.build import build

QUESTIONS, NEW = 10, 17
PIECE = 256
"""Frames that come at once."""


def main() -> None:
    """Measures both ways to hold it: as it is, and in codes on the host."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--frames", type=int, default=3600)
    parser.add_argument("--gib", type=float, default=22.0, help="of memory; a GPU of 24 GB has 22.4 GiB")
    parser.add_argument("--commit", default=None)
    arguments = parser.parse_args()
    device = torch.device("cpu" if arguments.tiny else "cuda")
    dtype = torch.float32 if arguments.tiny else torch.bfloat16
    if not arguments.tiny:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(arguments.gib * GIB / whole)
    parts = parts_of(prefill_of(arguments.tiny), tiny=arguments.tiny)
    model = build_model(parts, device=device, dtype=dtype).eval()
    rows: list[dict[str, Any]] = []
    for held in ({"bits": 4, "offload": True}, {}):
        row: dict[str, Any] = {"frames": arguments.frames, "gib_allowed": arguments.gib, **held}
        try:
            model.policy = build(FullConfig(**held))
            row |= measure(model, arguments.frames)
        except torch.cuda.OutOfMemoryError as error:
            row |= {"failed": str(error).splitlines()[0][:200]}
        name = "CPU" if arguments.tiny else torch.cuda.get_device_name()
        rows.append(row | {"device": name, "torch": torch.__version__, "commit": arguments.commit})
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(rows[-1]), flush=True)


def measure(model: Any, frames: int) -> dict[str, Any]:
    """Watching once, and ten questions about it."""
    cuda = model.device.type == "cuda"
    size = model.vision.pixels.size
    made = np.random.default_rng(0).integers(256, size=(PIECE, 3, size, size), dtype=np.uint8)
    piece_FCHW = torch.from_numpy(made)
    shown = (piece_FCHW[: frames - start] for start in range(0, frames, PIECE))
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    context = watch(model, head_of(model, frames), [shown])
    watched = torch.cuda.max_memory_allocated() / GIB if cuda else None
    seconds, rates = [], []
    for number in range(QUESTIONS):
        question = np.random.default_rng(number).integers(model.llm.vocab, size=40).tolist()
        began = time.perf_counter()
        answer = ask(context, question, max_new_tokens=NEW)
        seconds.append(round(time.perf_counter() - began, 3))
        rates.append(round(answer.decode_tokens_per_s, 1))
    return {
        "tokens": context.tokens,
        "watch_s": round(context.watch_ms / 1000, 2),
        "prefill_s": round(context.prefill_ms / 1000, 2),
        "question_s": seconds,
        "answer_tokens": NEW,
        "decode_tok_s": rates,
        "context_gib": round(context.cache_bytes / GIB, 3),
        "on_gpu_gib": round(context.cache.bytes("cuda") / GIB, 3) if cuda else None,
        "peak_watching_gib": watched,
        "peak_gib": torch.cuda.max_memory_allocated() / GIB if cuda else None,
    }


if __name__ == "__main__":
    main()
